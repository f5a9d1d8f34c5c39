"""Every law of logits processors catches one that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, UnbatchedClassifierFreeGuidanceLogitsProcessor

import contrast_references as references
import processor_laws as laws
from contrast_cases import context_case, model_case, sibling
from counterpoint.decoders import ModelAmateur
from counterpoint.decoders.amateurs import models as amateurs
from counterpoint.decoders.amateurs import prompts as prompt_amateurs
from counterpoint.decoders.contrasts import contrastive_decoding
from counterpoint.decoders.forwards.prefix_cache import PrefixCache
from families import FAMILY
from processor_laws import CACHES, ROWS, Batch, Case, Processor, Row, Score

LLAMA = FAMILY["llama"]
GUIDANCE = 1.5


@pytest.fixture
def model() -> PreTrainedModel:
    return LLAMA.build()


@pytest.fixture
def batch(model: PreTrainedModel) -> Batch:
    return laws.batch_of(LLAMA, model)


@pytest.fixture
def case() -> Case:
    return model_case(sibling(LLAMA))


def caught(message: str, law: Callable[..., None], *arguments: Any, **kwargs: Any) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception), match=message):
        law(*arguments, **kwargs)


def guidance_case() -> Case:
    """Classifier-free guidance as transformers has it: the prompt's last token is all that the negative sees of it."""

    def build(model: PreTrainedModel, batch: Batch) -> list[Processor]:
        return [UnbatchedClassifierFreeGuidanceLogitsProcessor(GUIDANCE, model)]

    def reference(model: PreTrainedModel) -> Score:
        def score(row: Row, scores: Tensor) -> Tensor:
            negative = references.logits_after(model, torch.cat([row.prompt[-1:], row.new]))
            return references.contrast(scores, negative, references.power(GUIDANCE - 1), alpha=0.0)

        return score

    return Case("guidance", build, reference)


@pytest.mark.parametrize("mode", ["greedy", "beams"])
def test_transformers_guidance_is_wrong_on_reuse_and_under_beams(model: PreTrainedModel, batch: Batch, mode: str) -> None:
    """A live mock: right once in greedy search, which shows that the reference is; its cache is neither reordered nor dropped."""
    time = "second time" if mode == "greedy" else "first time"
    caught(time, laws.equals_the_reference, guidance_case(), model, batch, **ROWS[mode])


def test_transformers_guidance_is_wrong_in_drafts_and_in_turn(model: PreTrainedModel, batch: Batch) -> None:
    caught("first time", laws.drafts_change_nothing, guidance_case(), model, batch, prompt_lookup_num_tokens=3)
    caught("call 1 in turn", laws.calls_do_not_meet, guidance_case(), model, batch)


def trusting(self: PrefixCache, ids: Tensor, seen: Tensor, most: int) -> tuple[int, None]:
    """A cache that never looks at what it holds: rows keep their places, and texts only grow."""
    self.padded = not bool(seen.all())
    if self.ids is None or self.cache is None:
        return 0, None
    held = min(self.ids.shape[1], most)
    self.cache.crop(held - self.ids.shape[1])
    return held, None


@pytest.mark.parametrize("mode", ["beams", "beam sample", "several beams, early stopping"])
def test_a_cache_whose_rows_are_not_followed(
    case: Case, model: PreTrainedModel, batch: Batch, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PrefixCache, "hold", trusting)
    caught("first time", laws.equals_the_reference, case, model, batch, **ROWS[mode])


def test_a_cache_that_outlives_its_text(case: Case, model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PrefixCache, "hold", trusting)
    caught("call 1 in turn", laws.calls_do_not_meet, case, model, batch)


def test_a_cache_of_one_row_for_all(case: Case, model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows multiply after the first forward: each has to find its own."""
    hold = PrefixCache.hold

    def first(self: PrefixCache, ids: Tensor, seen: Tensor, most: int) -> tuple[int, Tensor | None]:
        held, rows = hold(self, ids, seen, most)
        if held and self.cache is not None:
            self.cache.reorder_cache(torch.zeros(len(ids), dtype=torch.long))
        return held, rows

    monkeypatch.setattr(PrefixCache, "hold", first)
    caught("row 0 alone|row 1 alone", laws.rows_are_independent, case, model, batch)
    for mode in ("finished rows", "beams"):
        caught("first time", laws.equals_the_reference, case, model, batch, **ROWS[mode])


def test_padding_that_the_amateur_takes_for_text(
    case: Case, model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amateurs, "seen_tokens", lambda model, ids, mask: torch.ones_like(ids, dtype=torch.bool))
    caught("row 1 alone", laws.rows_are_independent, case, model, batch)
    caught("first time", laws.equals_the_reference, case, model, batch, **CACHES["no cache"])


def test_a_plausible_set_of_one_row_for_all(
    case: Case, model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in DoLa's released code and transformers 4."""
    right = contrastive_decoding.contrast

    def first(positive: Tensor, negative: Tensor, form: Any, alpha: float) -> Tensor:
        left_out = right(positive, negative, form=form, alpha=alpha)[:1] == -torch.inf
        return form(positive, negative).masked_fill(left_out, -torch.inf)

    monkeypatch.setattr(contrastive_decoding, "contrast", first)
    caught("row 1 alone|row 2 alone", laws.rows_are_independent, case, model, batch)


def test_bans_that_the_contrast_lifts(case: Case, model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    right = contrastive_decoding.contrast

    def lifted(positive: Tensor, negative: Tensor, form: Any, alpha: float) -> Tensor:
        return right(positive.clamp(min=-1e4), negative, form=form, alpha=0.0)

    monkeypatch.setattr(contrastive_decoding, "contrast", lifted)
    caught("a banned token", laws.bans_hold, case, model, batch)


def test_a_penalty_that_the_contrast_forgets(
    case: Case, model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An expert that is asked anew, instead of the scores that other processors left."""
    right = contrastive_decoding.ContrastiveDecodingLogitsProcessor.__call__

    def anew(self: Any, ids: Tensor, scores: Tensor) -> Tensor:
        seen = amateurs.seen_tokens(model, ids, None)
        logits = [references.logits_after(model, row[kept]) for row, kept in zip(ids, seen, strict=True)]
        return right(self, ids, torch.stack(logits))

    monkeypatch.setattr(contrastive_decoding.ContrastiveDecodingLogitsProcessor, "__call__", anew)
    laws.equals_the_reference(case, model, batch)
    caught("first time", laws.equals_the_reference, case, model, batch, **laws.PROCESSED["penalty before"])


def test_scores_changed_in_place(case: Case, model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    right = contrastive_decoding.contrast
    monkeypatch.setattr(
        contrastive_decoding, "contrast", lambda positive, *others, **settings: positive.copy_(right(positive, *others, **settings))
    )
    caught("output_logits were changed", laws.inputs_stay, case, model, batch)


def test_prompts_as_embeddings_that_are_ignored(
    case: Case, model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = ModelAmateur.text

    def begun(self: ModelAmateur, ids: Tensor) -> tuple[Tensor, Tensor]:
        return text(self, ids if ids.shape[1] else ids.new_ones(len(ids), 1))

    monkeypatch.setattr(ModelAmateur, "text", begun)
    caught("DID NOT RAISE", laws.embeds_work_or_are_refused, case, model, batch)


def test_another_prompt_that_takes_the_real_one_too(model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_amateurs, "prompt_width", lambda given: 0)
    caught("first time", laws.equals_the_reference, context_case(), model, batch)
