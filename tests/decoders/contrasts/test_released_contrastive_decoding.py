"""Contrastive decoding's released beam search equals the algorithm written out beam by beam."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import contrast_references as references
import processor_laws as laws
from contrast_cases import sibling
from counterpoint.decoders import (
    ContrastiveDecodingLogitsProcessor,
    LastTokenAmateur,
    ReleasedContrastiveDecodingLogitsProcessor,
    released_likelihood_ratio,
    score,
)
from counterpoint.decoders.contrasts import released_contrastive_decoding
from counterpoint.decoders.contrasts.released_contrastive_decoding import shortlist
from families import FAMILY
from processor_laws import Batch

LLAMA = FAMILY["llama"]
BEAMS, STEPS = 4, 8


def beam_search(
    expert: PreTrainedModel, amateur: PreTrainedModel, prompt: list[int], temperature: float, coefficient: float
) -> list[int]:
    """As released: a shortlist of all beams by the expert's last step, ranked by the contrast that each has added up."""
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(STEPS):
        found = []
        for total, new in beams:
            own = references.logits_after(expert, torch.tensor(prompt + new)).double().log_softmax(-1).tolist()
            other = references.logits_after(amateur, torch.tensor([prompt[-1], *new])).double().log_softmax(-1).tolist()
            found += [
                (p, total + p - coefficient * q / temperature, [*new, v]) for v, (p, q) in enumerate(zip(own, other, strict=True))
            ]
        listed = sorted(found, reverse=True)[: 2 * BEAMS]
        beams = sorted([(total, new) for _, total, new in listed], reverse=True)[:BEAMS]
    return beams[0][1]


@pytest.mark.parametrize(("temperature", "coefficient"), [(0.5, 1.0), (1.0, 0.8)])
@pytest.mark.parametrize("name", ["llama", "gemma3_sliding"])
def test_it_is_the_released_algorithm(name: str, temperature: float, coefficient: float) -> None:
    """In a padded batch, each prompt's beams by themselves, and again with the same object."""
    model, amateur = FAMILY[name].build(), sibling(FAMILY[name])
    batch = laws.batch_of(FAMILY[name], model)
    form = partial(released_likelihood_ratio, amateur_temperature=temperature, coefficient=coefficient)
    used = ReleasedContrastiveDecodingLogitsProcessor(LastTokenAmateur(amateur), form=form)
    expected = [beam_search(model, amateur, batch.alone(row).ids[0].tolist(), temperature, coefficient) for row in range(3)]
    for _ in range(2):
        assert laws.tokens(model, batch, [used], num_beams=BEAMS, max_new_tokens=STEPS) == expected
    for row in range(3):
        assert laws.tokens(model, batch.alone(row), [used], num_beams=BEAMS, max_new_tokens=STEPS)[0] == expected[row]


def test_the_embedded_pair(expert: PreTrainedModel, amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    inputs = tokenizer(["The whale rose", "My fellow citizens, it was"], return_tensors="pt", padding=True)
    batch = Batch(inputs.input_ids, inputs.attention_mask, (0, 1))
    used = ReleasedContrastiveDecodingLogitsProcessor(LastTokenAmateur(amateur))
    found = laws.tokens(expert, batch, [used], num_beams=BEAMS, max_new_tokens=STEPS)
    assert found == [beam_search(expert, amateur, batch.alone(row).ids[0].tolist(), 0.5, 1.0) for row in range(2)]
    paper = ContrastiveDecodingLogitsProcessor(LastTokenAmateur(amateur), form=released_likelihood_ratio)
    assert found != laws.tokens(expert, batch, [paper], num_beams=BEAMS, max_new_tokens=STEPS)


@given(seed=st.integers(0, 999), prompts=st.integers(1, 3), beams=st.integers(2, 4), begun=st.booleans())
def test_the_shortlist_is_counted_as_by_hand(seed: int, prompts: int, beams: int, begun: bool) -> None:
    scores = torch.randn(prompts * beams, 9, generator=torch.Generator().manual_seed(seed))
    ids = torch.arange(prompts * beams)[:, None] if begun else torch.arange(prompts).repeat_interleave(beams)[:, None]
    found = shortlist(ids, scores, beams)
    for first in range(0, prompts * beams, beams):
        rows = [first] if not begun else range(first, first + beams)
        pairs = sorted(((float(scores[row, v]), row, v) for row in rows for v in range(9)), reverse=True)[: 2 * beams]
        listed = {(row, v) for row in rows for v in range(9) if found[row, v]}
        assert listed == {(row, v) for _, row, v in pairs}


def test_without_beams_it_is_refused_by_name(expert: PreTrainedModel, amateur: PreTrainedModel) -> None:
    used = ReleasedContrastiveDecodingLogitsProcessor(amateur)
    with pytest.raises(ValueError, match=r"num_beams=1.*use ContrastiveDecodingLogitsProcessor"):
        expert.generate(torch.tensor([[5, 6]]), logits_processor=[used], max_new_tokens=2)
    with pytest.raises(ValueError, match=r"num_beams=1.*use ContrastiveDecodingLogitsProcessor"):
        score(expert, None, [[5, 6]], [[[7, 8]]], used)


def test_a_shortlist_of_each_beam_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        released_contrastive_decoding, "shortlist", lambda ids, scores, beams: released_contrastive_decoding.best(scores, 2 * beams)
    )
    with pytest.raises(AssertionError):
        test_it_is_the_released_algorithm("llama", 0.5, 1.0)
