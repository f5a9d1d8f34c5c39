"""Every law of ranked search catches a library that breaks it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import DynamicCache, PreTrainedModel

import ranked_search_laws as laws
from contrast_cases import context_case
from counterpoint.decoders.undoing import together
from counterpoint.rankers.search import beams, proposals
from counterpoint.rankers.search import ranked_search as search
from counterpoint.rankers.search.beams import Beams, Candidate
from counterpoint.rankers.search.proposals import Proposer
from families import ALL
from processor_laws import Batch, batch_of

LLAMA = next(family for family in ALL if family.name == "llama")


@pytest.fixture
def model() -> PreTrainedModel:
    return LLAMA.build()


@pytest.fixture
def batch(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> Batch:
    monkeypatch.setattr(proposals, "draw", laws.drawn_by_rank())
    return batch_of(LLAMA, model)


def caught(model: PreTrainedModel, batch: Batch, *arguments: Any, eos: tuple[int, ...] = ()) -> None:
    with pytest.raises(AssertionError):
        laws.equals_reference(model, batch, *arguments, eos=eos)


def test_caches_of_other_rows(model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    reorder = DynamicCache.reorder_cache
    monkeypatch.setattr(DynamicCache, "reorder_cache", lambda self, rows: reorder(self, rows.sort().values.roll(1)))
    caught(model, batch)


def test_masks_of_other_rows(model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        proposals, "chosen", lambda value, rows: value[:1].expand(len(rows), -1) if torch.is_tensor(value) else value
    )
    caught(model, batch)


def test_candidates_that_are_kept_twice(model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beams, "once_each", list)
    caught(model, batch)


def test_only_the_new_tokens_judged(model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    text, new_only = search.GeneratedText, slice(-laws.SEARCH["tokens_per_round"], None)
    monkeypatch.setattr(search, "GeneratedText", lambda tokenizer, prompt, new: text(tokenizer, prompt, new[new_only]))
    caught(model, batch)


def test_the_worst_kept(model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    first = beams.best_first
    monkeypatch.setattr(beams, "best_first", lambda scorer, pools: [pool[::-1] for pool in first(scorer, pools)])
    caught(model, batch)


def test_finished_beams_lost(model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    eos = laws.some_end(model, batch)
    monkeypatch.setattr(
        beams, "replace", lambda each, **values: replace(each, **values) if "score" in values else Candidate((), "", True)
    )
    caught(model, batch, eos=eos)


def test_tokens_after_the_end(model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    eos = laws.some_end(model, batch)
    propose = Proposer.propose

    def longer(self: Proposer, draws: int, most: int | None) -> proposals.Proposal:
        start = self.ids.shape[1]
        found = propose(self, draws, most)
        return found._replace(tokens=[tuple(row) for row in self.ids[:, start:].tolist()])

    monkeypatch.setattr(Proposer, "propose", longer)
    caught(model, batch, eos=eos)


def test_eos_that_ends_nothing(model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    eos = laws.some_end(model, batch)
    propose = Proposer.propose

    def endless(self: Proposer, draws: int, most: int | None) -> proposals.Proposal:
        self.criteria = type(self.criteria)([each for each in self.criteria if not hasattr(each, "eos_token_id")])
        return propose(self, draws, most)

    monkeypatch.setattr(Proposer, "propose", endless)
    caught(model, batch, eos=eos)


def test_prompts_mistaken_for_one_another(model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a prompt has fewer rows than another, processors have to be told."""
    case, eos = context_case(), laws.some_end(model, batch)
    monkeypatch.setattr(proposals, "continuing", lambda origins: together())
    with pytest.raises((AssertionError, ValueError)):
        laws.equals_reference(model, batch, case.build, case.reference(model), eos)


def test_a_streamer_that_hears_too_early(model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "shared_beginning", lambda texts: len(texts[0]))
    with pytest.raises(AssertionError):
        laws.streams_what_stays(model, batch.alone(0), beams=2)


def test_a_streamer_that_waits(model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.Stream, "put", lambda self, kept: None)
    with pytest.raises(AssertionError):
        laws.streams_what_stays(model, batch.alone(0), beams=1)


def test_a_cache_that_is_used_up(model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals, "deepcopy", lambda cache: cache)
    with pytest.raises((AssertionError, RuntimeError)):
        laws.leaves_inputs_alone(model, batch)


def test_a_token_lost_each_round(model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    grow = Beams.grow
    monkeypatch.setattr(
        Beams, "grow", lambda self, new, draws: grow(self, new._replace(tokens=[row[:-1] for row in new.tokens]), draws)
    )
    caught(model, batch)
