"""Every law catches a library that breaks it."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

import laws
from counterpoint.decoders import adaptive_contrastive_search
from counterpoint.decoders.forwards.candidates import ExpandedForward, TreeForward
from counterpoint.decoders.hf import generate_call
from counterpoint.decoders.search import contrastive_score as degeneration
from counterpoint.decoders.search import contrastive_search_loop as search
from counterpoint.decoders.search.adaptive_contrastive_search import EntropyRule
from counterpoint.decoders.search.contrastive_score import Context
from families import FAMILY

LLAMA = FAMILY["llama"]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> PreTrainedModel:
    """A model that the library's own check of its tree has passed already, so that a broken tree is not avoided."""
    model = LLAMA.build()
    laws.l2_fast_equals_plain(LLAMA, model)
    laws.l1_rows_are_independent(LLAMA, model)
    return model


def caught(law: laws.Law, *arguments: Any, **kwargs: Any) -> None:
    with pytest.raises(AssertionError):
        law(*arguments, **kwargs)


def test_l1_padding_in_the_context(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "seen_positions", lambda *_: None)
    caught(laws.l1_rows_are_independent, LLAMA, model)


def test_l1_one_choice_for_all_rows(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        search.Sampling, "pick", lambda self, scores, _: scores.mean(0, keepdim=True).argmax(-1).expand(len(scores))
    )
    caught(laws.l1_rows_are_independent, LLAMA, model)


def test_l2_candidates_that_see_each_other(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = TreeForward._masks
    monkeypatch.setattr(TreeForward, "_masks", lambda self, k: torch.zeros_like(masks(self, k)))
    caught(laws.l2_fast_equals_plain, LLAMA, model)


def test_l2_candidates_at_different_positions(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = type(model).forward

    @functools.wraps(forward)
    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        positions = kwargs.get("position_ids")
        if positions is not None and positions.shape[1] == laws.K:
            kwargs["position_ids"] = positions + torch.arange(laws.K)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "forward", counted)
    caught(laws.l2_fast_equals_plain, LLAMA, model, candidates="tree")


def test_l2_the_wrong_slot_is_kept(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = TreeForward._keep
    monkeypatch.setattr(TreeForward, "_keep", lambda self, k, chosen: keep(self, k, torch.zeros_like(chosen)))
    caught(laws.l2_fast_equals_plain, LLAMA, model)


def test_l2_the_wrong_row_is_kept(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = ExpandedForward.__call__

    def first(self: ExpandedForward, input_ids: Tensor, tokens: Tensor, choose: Any) -> Any:
        result = forward(self, input_ids, tokens, choose)
        self.chosen_rows = torch.arange(len(tokens)) * tokens.shape[1]
        return result

    monkeypatch.setattr(ExpandedForward, "__call__", first)
    caught(laws.l2_fast_equals_plain, LLAMA, model, candidates="expand")


def test_l3_a_history_that_outlives_its_text(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = EntropyRule(1.0)

    def inherited(self: EntropyRule, scale: float) -> None:
        self.scale = 8.0
        self.vocabulary_entropies = shared.vocabulary_entropies
        self.candidate_entropies = shared.candidate_entropies

    monkeypatch.setattr(EntropyRule, "__init__", inherited)
    mode = {"custom_generate": adaptive_contrastive_search, "penalty_alpha": None, "top_k": None}
    caught(laws.l3_calls_do_not_meet, model, **mode)


def test_l4_a_streamer_that_is_ignored(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "current_generate_call", generate_call.GenerateCall)
    caught(laws.l4_streams, model)


def test_l5_a_penalty_without_its_weight(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "contrastive_scores", lambda p, similarity, alpha: (1 - alpha) * p - similarity)
    caught(laws.l5_degenerate_settings_are_greedy, LLAMA, model)


def test_l7_processors_that_write_into_the_logits(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    step = search.GenerateOutputs.step
    monkeypatch.setattr(search.GenerateOutputs, "step", lambda self, output, logits, scores: step(self, output, scores, scores))
    caught(laws.l7_outputs_mean_what_they_say, model)


def test_l7_scores_that_are_not_the_processed_logits(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    step = search.GenerateOutputs.step
    monkeypatch.setattr(
        search.GenerateOutputs, "step", lambda self, output, logits, scores: step(self, output, logits, scores.softmax(-1))
    )
    caught(laws.l7_outputs_mean_what_they_say, model)


def test_l8_log_probability_for_probability(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = degeneration.contrastive_scores
    monkeypatch.setattr(search, "contrastive_scores", lambda p, similarity, alpha: wrong(p.log(), similarity, alpha))
    caught(laws.l2_fast_equals_plain, LLAMA, model)


def test_l8_mean_for_largest_similarity(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def mean(self: Context, hidden: Tensor) -> Tensor:
        unit = torch.nn.functional.normalize(hidden, dim=-1)
        return (unit @ self.states[:, : self.length].transpose(1, 2)).mean(-1)

    monkeypatch.setattr(Context, "similarity", mean)
    caught(laws.l2_fast_equals_plain, LLAMA, model)
