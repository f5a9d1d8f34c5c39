"""M3ID: the rule after any number of tokens, in generation and scoring, worked numbers, and degenerate settings."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel

import contrast_references as references
from counterpoint.decoders import (
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    M3IDLogitsProcessor,
    SideOutputs,
    decoder,
    extrapolation,
    growing_extrapolation,
)
from counterpoint.decoders.contrasts.forms import Form
from counterpoint.decoders.testing import DecoderLaws, tiny_model

OTHER = {"input_ids": torch.tensor([[7, 8, 9]])}
IDS = torch.tensor([[11, 12, 13, 14]])


class TestM3ID(DecoderLaws):
    """Favero et al."""

    decoder = M3IDLogitsProcessor

    def make_processor(self, model: PreTrainedModel) -> LogitsProcessor:
        return M3IDLogitsProcessor(model, OTHER, rate=0.3)


def test_worked_numbers() -> None:
    p, q = torch.tensor([0.60, 0.35, 0.05]).log(), torch.tensor([0.75, 0.20, 0.05]).log()
    found = growing_extrapolation(p, q, tokens=torch.tensor(50)).softmax(-1)
    torch.testing.assert_close(found, torch.tensor([0.2975, 0.6661, 0.0364]), atol=6e-5, rtol=0)
    for tokens, beta in ((0, 0.0), (10, 0.2214), (35, 1.0138), (100, 6.389)):
        expected = extrapolation(p, q, beta=beta)
        torch.testing.assert_close(growing_extrapolation(p, q, tokens=torch.tensor(tokens)), expected, atol=1e-3, rtol=1e-4)
    far = growing_extrapolation(p, q, tokens=torch.tensor(2_000_000))
    assert bool(far.isfinite().all())


def test_positions_have_strengths_of_their_own() -> None:
    torch.manual_seed(0)
    p, q = torch.randn(3, 6), torch.randn(3, 6)
    found = growing_extrapolation(p, q, tokens=torch.tensor([0, 5, 40]), rate=0.1)
    for row, tokens in enumerate((0, 5, 40)):
        torch.testing.assert_close(found[row], extrapolation(p[row], q[row], beta=math.exp(0.1 * tokens) - 1))


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}])
def test_the_rule_at_each_step(settings: dict[str, Any]) -> None:
    """By two forwards of whole texts, t counted from the prompt's end."""
    model: Any = tiny_model()
    calls: list[tuple[Tensor, Tensor]] = []

    def noted(ids: Tensor, scores: Tensor) -> Tensor:
        calls.append((ids.clone(), scores.clone()))
        return scores

    processors = [M3IDLogitsProcessor(model, OTHER, rate=0.3, alpha=0.05), noted]
    model.generate(IDS, logits_processor=processors, max_new_tokens=5, do_sample=False, eos_token_id=None, **settings)
    assert [ids.shape[1] - IDS.shape[1] for ids, _ in calls] == [0, 1, 2, 3, 4]
    for tokens, (ids, scores) in enumerate(calls):
        for text, found in zip(ids, scores, strict=True):
            positive = references.logits_after(model, text)
            negative = references.logits_after(model, torch.cat([OTHER["input_ids"][0], text[IDS.shape[1] :]]))
            expected = references.contrast(positive, negative, references.power(math.exp(0.3 * tokens) - 1), 0.05)
            torch.testing.assert_close(found.double(), expected, atol=2e-4, rtol=1e-4)


class FromTheBeginning(M3IDLogitsProcessor):
    """Counts the prompt's tokens too."""

    def form_at(self, outputs: SideOutputs) -> Form:
        return partial(growing_extrapolation, tokens=outputs.text()[1].sum(dim=1), rate=self.rate)


class WithoutSteps(M3IDLogitsProcessor):
    """In scoring, one strength for all positions."""

    def form_at(self, outputs: SideOutputs) -> Form:
        tokens = outputs.new_tokens(self.prompt_length)
        return partial(growing_extrapolation, tokens=tokens.amax().expand(len(tokens)), rate=self.rate)


def test_a_step_that_scoring_does_not_know_is_caught() -> None:
    class Laws(DecoderLaws):
        def make_processor(self, model: PreTrainedModel) -> LogitsProcessor:
            return WithoutSteps(model, OTHER, rate=0.3)

    with pytest.raises(AssertionError, match="text 0: score"):
        Laws().test_scoring_agrees_with_generation()


def test_degenerate_settings_are_known_methods() -> None:
    model: Any = tiny_model()

    def text(*processors: Any, new: int = 12) -> list[int]:
        ids: list[int] = model.generate(IDS, logits_processor=list(processors), max_new_tokens=new, do_sample=False)[0].tolist()
        return ids

    assert text(M3IDLogitsProcessor(model, OTHER, rate=0.0)) == text(M3IDLogitsProcessor(model, OTHER, alpha=1.0)) == text()
    assert text(M3IDLogitsProcessor(model, {"input_ids": IDS}, rate=0.5)) == text()
    assert text(M3IDLogitsProcessor(model, OTHER, rate=9.0), new=1) == text(new=1)  # nothing is forgotten yet
    assert text(M3IDLogitsProcessor(model, OTHER, rate=0.5)) != text()
    assert text(FromTheBeginning(model, OTHER, rate=0.5)) != text(M3IDLogitsProcessor(model, OTHER, rate=0.5))


def test_by_name(expert: Any, tokenizer: Any) -> None:
    prompt = "It was a cold day on the sea.\n\nThe whale rose"
    (named,) = decoder("m3id:rate=0.1", expert, tokenizer, prompts=[prompt])["logits_processor"]
    without = ContextAwareLogitsProcessor(expert, tokenizer("The whale rose", return_tensors="pt"))
    assert isinstance(named, ContrastiveDecodingLogitsProcessor)
    assert (named.rate, named.alpha) == (0.1, 0.1)
    assert torch.equal(named.amateur.prompt, without.amateur.prompt)
    with pytest.raises(ValueError, match=r"rate=-1\.0: the strength grows by a rate of 0 or more"):
        M3IDLogitsProcessor(expert, OTHER, rate=-1.0)
    with pytest.raises(ValueError, match="prompt_length=None: outside of generate"):
        M3IDLogitsProcessor(expert, OTHER)(IDS, torch.zeros(1, 8192))
