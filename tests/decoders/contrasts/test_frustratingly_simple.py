"""Frustratingly simple decoding equals penalties counted by hand, in every mode of ``generate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import processor_laws as laws
import repetition_references as references
from contrast_cases import sibling
from counterpoint.decoders import (
    FrustratinglySimpleLogitsProcessor,
    NGramAntiLanguageModel,
    VectorAntiLanguageModel,
    base,
    score,
)
from counterpoint.decoders.base import NextTokenOutputs
from counterpoint.decoders.contrasts import anti_language_models
from counterpoint.decoders.contrasts.anti_language_models import vector_penalty
from counterpoint.decoders.forwards import text_states
from counterpoint.eval import rep_n
from families import FAMILY
from processor_laws import CACHES, PROCESSED, ROWS, Batch, Case, Processor, Row, Score

LLAMA = FAMILY["llama"]
ALPHA, K, BETA = 0.7, 6, 0.8


def ngram_case(n: int = 3) -> Case:
    def build(model: PreTrainedModel, batch: Batch) -> Sequence[Processor]:
        return [FrustratinglySimpleLogitsProcessor(NGramAntiLanguageModel(n=n, beta=BETA), penalty_alpha=ALPHA, top_k=K)]

    def reference(model: PreTrainedModel) -> Score:
        def score(row: Row, scores: Tensor) -> Tensor:
            penalty = references.ngrams(row.text.tolist(), n, BETA)
            return references.frustratingly_simple(scores, penalty, ALPHA, K)

        return score

    return Case(f"{n}-grams", build, reference)


def vector_case(n: int = 2) -> Case:
    def build(model: PreTrainedModel, batch: Batch) -> Sequence[Processor]:
        return [FrustratinglySimpleLogitsProcessor(VectorAntiLanguageModel(model, n=n), penalty_alpha=ALPHA, top_k=K)]

    def reference(model: PreTrainedModel) -> Score:
        def score(row: Row, scores: Tensor) -> Tensor:
            penalty = references.vectors(row.text.tolist(), references.last_states(model, row.text), n)
            return references.frustratingly_simple(scores, penalty, ALPHA, K)

        return score

    return Case(f"vectors, n={n}", build, reference)


CASES = {"ngrams": ngram_case(), "vectors": vector_case(), "vectors of two": vector_case(3)}
MATRIX = [
    *(("llama", case) for case in CASES),
    *((name, "vectors") for name in ("gemma3_sliding", "mamba")),
    ("bart", "ngrams"),
]
each_case = pytest.mark.parametrize(("name", "case"), MATRIX)


@each_case
@pytest.mark.parametrize("mode", [*ROWS, *PROCESSED, *CACHES])
def test_every_mode_is_the_reference(name: str, case: str, mode: str) -> None:
    model = FAMILY[name].build()
    laws.equals_the_reference(CASES[case], model, laws.batch_of(FAMILY[name], model), **(ROWS | PROCESSED | CACHES)[mode])


@each_case
def test_laws(name: str, case: str) -> None:
    model = FAMILY[name].build()
    batch = laws.batch_of(FAMILY[name], model)
    laws.rows_are_independent(CASES[case], model, batch)
    laws.calls_do_not_meet(CASES[case], model, batch)
    laws.bans_hold(CASES[case], model, batch)
    laws.inputs_stay(CASES[case], model, batch)
    if name not in ("mamba", "bart"):  # which transformers does not assist, or has no prompt to embed
        laws.embeds_work_or_are_refused(CASES[case], model, batch)
        for mode in ({"prompt_lookup_num_tokens": 3}, {"assistant_model": sibling(FAMILY[name])}, {"assistant_model": model}):
            laws.drafts_change_nothing(CASES[case], model, batch, **mode)


@pytest.mark.parametrize("name", ["gpt2_tied", "opt_350m", "bloom", "mpt", "falcon_h1", "lfm2", "llama4_chunked", "cohere"])
def test_states_of_other_architectures(name: str) -> None:
    model = FAMILY[name].build()
    batch = laws.batch_of(FAMILY[name], model)
    laws.equals_the_reference(vector_case(), model, batch, do_sample=True, num_return_sequences=2, temperature=0.5)


words = st.lists(st.integers(4, 7), min_size=1, max_size=14)  # few words, so that n-grams come again
texts_of_words = st.lists(words, min_size=1, max_size=3)
permutations = st.permutations(range(4, 10))


def padded(texts: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Ids, where padding looks like a word, and what is not padding."""
    width = max(map(len, texts))
    ids = torch.tensor([[4] * (width - len(text)) + text for text in texts])
    return ids, torch.tensor([[False] * (width - len(text)) + [True] * len(text) for text in texts])


@given(texts=texts_of_words, n=st.integers(1, 5), beta=st.floats(0, 1), candidates=permutations)
def test_ngrams_are_counted_as_by_hand(texts: list[list[int]], n: int, beta: float, candidates: list[int]) -> None:
    ids, seen = padded(texts)
    found = NGramAntiLanguageModel(n=n, beta=beta).penalty(
        NextTokenOutputs(ids, seen.long()), torch.tensor([candidates] * len(texts))
    )
    expected = [[references.ngrams(text, n, beta)(v) for v in candidates] for text in texts]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=1e-5)


@given(texts=texts_of_words, n=st.integers(2, 4), seed=st.integers(0, 999), candidates=permutations)
def test_states_are_compared_as_by_hand(texts: list[list[int]], n: int, seed: int, candidates: list[int]) -> None:
    ids, seen = padded(texts)
    states = torch.randn(*ids.shape, 5, generator=torch.Generator().manual_seed(seed))
    found = vector_penalty(states, ids, seen, torch.tensor([candidates] * len(texts)), n)
    expected = [
        [references.vectors(text, own[kept], n)(v) for v in candidates] for text, own, kept in zip(texts, states, seen, strict=True)
    ]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_degenerate_settings_are_greedy() -> None:
    model = LLAMA.build()
    batch = laws.batch_of(LLAMA, model)
    greedy = laws.tokens(model, batch, [])
    assert laws.tokens(model, batch, [FrustratinglySimpleLogitsProcessor(penalty_alpha=0.0)]) == greedy
    assert laws.tokens(model, batch, [FrustratinglySimpleLogitsProcessor(top_k=1)]) == greedy
    assert laws.tokens(model, batch, [FrustratinglySimpleLogitsProcessor(exempt=range(96), top_k=8)]) == greedy
    assert laws.tokens(model, batch, [FrustratinglySimpleLogitsProcessor(top_k=8)]) != greedy


def test_exempt_tokens_repeat_freely() -> None:
    ids, logits = torch.tensor([[5, 6, 5, 6, 5]]), torch.zeros(1, 8)
    logits[0, [6, 7]] = torch.tensor([2.0, 1.9])
    assert FrustratinglySimpleLogitsProcessor()(ids, logits).argmax() == 7
    assert FrustratinglySimpleLogitsProcessor(exempt=[6])(ids, logits).argmax() == 6


def test_padding_outside_of_generate() -> None:
    logits = torch.zeros(1, 8)
    logits[0, [6, 7]] = torch.tensor([2.0, 1.9])
    mask = torch.tensor([[0, 0, 1]])
    ids = torch.tensor([[6, 6, 5]])
    assert FrustratinglySimpleLogitsProcessor()(ids, logits).argmax() == 7
    assert FrustratinglySimpleLogitsProcessor(attention_mask=mask)(ids, logits).argmax() == 6


def test_both_forms_repeat_less(expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    texts = ["It was the best of times, it was", "The whale", "My fellow citizens, the captain of the ship had"]
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    batch = Batch(inputs.input_ids, inputs.attention_mask, (0, 1, 2))

    def repeated(processors: list[Any]) -> float:
        return rep_n(tokenizer.batch_decode(laws.tokens(expert, batch, processors, max_new_tokens=64)), 2)

    greedy = repeated([])
    assert repeated([FrustratinglySimpleLogitsProcessor()]) < greedy / 2
    assert repeated([FrustratinglySimpleLogitsProcessor(VectorAntiLanguageModel(expert), penalty_alpha=0.45)]) < greedy / 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FrustratinglySimpleLogitsProcessor(penalty_alpha=1.5), r"penalty_alpha=1\.5.*\[0, 1\]"),
        (lambda: FrustratinglySimpleLogitsProcessor(top_k=0), "top_k=0"),
        (lambda: NGramAntiLanguageModel(n=0), "n=0"),
        (lambda: NGramAntiLanguageModel(beta=-0.1), r"beta=-0\.1"),
        (lambda: VectorAntiLanguageModel(LLAMA.build(), n=1), "n=1"),
        (lambda: VectorAntiLanguageModel(FAMILY["bart"].build()), r"Bart.* is an encoder-decoder.*NGramAntiLanguageModel"),
    ],
)
def test_values_out_of_range(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_states_that_are_not_known_are_asked_for() -> None:
    model, other = LLAMA.build(), sibling(LLAMA)
    batch = laws.batch_of(LLAMA, model).alone(0)
    used = [FrustratinglySimpleLogitsProcessor(VectorAntiLanguageModel(model))]
    with pytest.raises(ValueError, match="no forward of LlamaForCausalLM precedes"):
        laws.generate(other, batch, used)
    laws.generate(model, batch, used)
    with pytest.raises(ValueError, match="no forward of LlamaForCausalLM precedes"):
        laws.generate(other, laws.other_batch(batch), used)
    with pytest.raises(ValueError, match=r"leave out .* and prefill_chunk_size"):
        laws.generate(model, laws.other_batch(batch), used, prefill_chunk_size=4)
    with pytest.raises(ValueError, match="the states of another LlamaForCausalLM than model"):
        score(other, None, [[5, 6]], [[[7, 8]]], used)


def test_hooks_go_with_their_object() -> None:
    model = LLAMA.build()
    before = dict(model.model._forward_hooks), dict(model.model._forward_pre_hooks)
    states = text_states.TextStates(model)
    assert len(model.model._forward_hooks) == len(before[0]) + 1
    del states
    assert (dict(model.model._forward_hooks), dict(model.model._forward_pre_hooks)) == before


def test_broken_ones_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are not followed, padding that counts as text, and states that are a step late."""
    model = LLAMA.build()
    batch = laws.batch_of(LLAMA, model)

    def in_place(known: Tensor, known_seen: Tensor, ids: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(ids))
        return torch.full_like(rows, ids.shape[1]), rows

    with monkeypatch.context() as broken:
        broken.setattr(text_states, "common_beginning", in_place)
        laws.equals_the_reference(vector_case(), model, batch)
        with pytest.raises(AssertionError):
            laws.equals_the_reference(vector_case(), model, batch, num_beams=4)
    with monkeypatch.context() as broken:
        broken.setattr(base, "seen_tokens", lambda model, ids, mask: torch.ones_like(ids, dtype=torch.bool))
        with pytest.raises(AssertionError):
            laws.equals_the_reference(ngram_case(1), model, batch)
    with monkeypatch.context() as broken:
        late = anti_language_models.similarity_of_windows
        broken.setattr(anti_language_models, "similarity_of_windows", lambda states, width: late(states.roll(1, 1), width))
        with pytest.raises(AssertionError):
            laws.equals_the_reference(vector_case(), model, batch)
