"""SLED's released scores: sums of evolved raw logits, recomputed from scratch; and how they differ from ours."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel, SuppressTokensLogitsProcessor

import layer_references as reference
from counterpoint.decoders import ReleasedSLEDLogitsProcessor, SLEDLogitsProcessor, score
from counterpoint.decoders.testing import DecoderLaws
from families import FAMILY, prompts

SETTINGS = {"evolution_rate": 2.5, "evolution_scale": 30, "evolution_steps": 10, "evolution_lower_bound": -100.0}


class TestReleasedSLED(DecoderLaws):
    """In generation it is SLED."""

    decoder = ReleasedSLEDLogitsProcessor

    def make_processor(self, model: PreTrainedModel) -> LogitsProcessor:
        return ReleasedSLEDLogitsProcessor(model, evolution_rate=4.0)


def released(model: PreTrainedModel, prompt: list[int], answer: list[int]) -> tuple[float, float]:
    """The sum of evolved raw logits of an answer, and that of the levels ln sum_w exp z_w of its positions."""
    total = level = 0.0
    for place, token in enumerate(answer):
        text = torch.tensor([prompt + answer[:place]])
        final, early = reference.exits(model, text, range(model.config.num_hidden_layers))
        evolved = reference.sled(final, final, early, rate=2.5, scale=30, steps=10, lower_bound=-100.0)
        total += float(evolved[token])
        level += float(final.double().logsumexp(-1)) if float(evolved[token]) > -100 else 0.0
    return total, level


def totals(model: PreTrainedModel, decoder: SLEDLogitsProcessor, prompt: list[int], answers: list[list[int]]) -> list[float]:
    (scores,) = score(model, None, [prompt], [answers], decoder, renormalise=False)
    return [each.total for each in scores]


@pytest.mark.parametrize("name", ["llama", "gemma2_sliding"])
def test_scores_are_evolved_raw_logits(name: str) -> None:
    model = FAMILY[name].build()
    prompt = prompts(model, (7,))[0][0].tolist()
    best = model.generate(torch.tensor([prompt]), max_new_tokens=4, do_sample=False, pad_token_id=0, eos_token_id=None)[
        0, 7:
    ].tolist()
    answers = [best, best[::-1], [5, 6, 7]]
    expected = [released(model, prompt, answer) for answer in answers]
    found = totals(model, ReleasedSLEDLogitsProcessor(model, **SETTINGS), prompt, answers)
    assert found == pytest.approx([total for total, _ in expected], abs=5e-3)
    ours = totals(model, SLEDLogitsProcessor(model, **SETTINGS), prompt, answers)
    assert ours == pytest.approx([total - level for total, level in expected], abs=5e-3)
    assert min(abs(level) for _, level in expected[:1]) > 0.1, "levels of 0, no test of anything"


def test_a_level_that_no_probability_depends_on_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is why it is not the default."""
    model = FAMILY["gpt2"].build()
    scores = torch.log_softmax(torch.randn(2, 96), dim=-1)
    released_one, ours = ReleasedSLEDLogitsProcessor(model), SLEDLogitsProcessor(model)
    final = scores + 3.0
    assert torch.equal(ours.evolving(scores, final), scores)
    assert torch.equal(released_one.evolving(scores, final), final)


def test_bans_count_and_penalties_do_not() -> None:
    model = FAMILY["llama"].build()
    ids, mask = prompts(model, (7,))
    settings = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "eos_token_id": None, "attention_mask": mask}

    def raised(ids: Tensor, scores: Tensor) -> Tensor:
        return scores + 1e3 * (torch.arange(scores.shape[1]) == 11)

    plain = model.generate(ids, logits_processor=[ReleasedSLEDLogitsProcessor(model)], **settings)
    assert torch.equal(plain, model.generate(ids, logits_processor=[SLEDLogitsProcessor(model)], **settings))
    assert torch.equal(plain, model.generate(ids, logits_processor=[raised, ReleasedSLEDLogitsProcessor(model)], **settings))
    ban = SuppressTokensLogitsProcessor(plain[0, 7:].tolist(), device="cpu")
    other = model.generate(ids, logits_processor=[ban, ReleasedSLEDLogitsProcessor(model)], **settings)
    assert not torch.isin(other[0, 7:], plain[0, 7:]).any()
