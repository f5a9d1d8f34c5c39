"""Multiple choice by a decoder's scores: one journal entry a question, progress, nothing scored twice."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from counterpoint.decoders import Score, score_each
from counterpoint.decoders.forwards.chats import Prompt
from counterpoint.decoders.forwards.text_batches import encode
from counterpoint.eval import building
from counterpoint.eval.chat import TEXTS, ChatFormat, make_prompt
from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.journal import Journal, key_of
from counterpoint.eval.loading import Loaded
from counterpoint.eval.progress import progress_bar
from counterpoint.eval.revisions import dependencies

Found = TypeVar("Found")


@dataclass(frozen=True)
class Scored:
    """An answer's score."""

    total: float
    """Sum over its tokens."""
    tokens: int
    """How many there are."""


class ChoiceTask:
    """Questions with answers to score; ``key`` is a name for all that their results depend on besides themselves.

    Args:
        loaded: The model.
        spec: The decoder.
        renormalise: Whether its scores are normalised.
        settings: What else the results depend on, as JSON can hold it.
        seed: Seed of whatever is random.
        chats: How texts become chats.
    """

    def __init__(
        self, loaded: Loaded, spec: DecoderSpec, renormalise: bool, *settings: Any, seed: int = 0, chats: ChatFormat = TEXTS
    ) -> None:
        self.loaded, self.spec, self.renormalise, self.seed, self.chats = loaded, spec, renormalise, seed, chats
        self.depends_on = dependencies(loaded, spec)
        settings = (type(self).__name__, *settings, renormalise, seed, chats.facts())
        self.key = key_of(self.depends_on, settings)[:12]

    def name(self, question: Any) -> str:
        """What the question is called in the results."""
        raise NotImplementedError

    def text(self, question: Any) -> str:
        """The text before the answers."""
        raise NotImplementedError

    def prompt(self, question: Any) -> Prompt:
        """That text, or the chat that it is in."""
        return make_prompt(self.text(question), self.chats)

    def given(self, question: Any) -> list[str]:
        """The answers as they follow the prompt: after a space, or as the assistant's message."""
        return [each if self.chats.used else f" {each}" for each in self.answers(question)]

    def answers(self, question: Any) -> list[str]:
        """The answers."""
        raise NotImplementedError

    def measures(self, question: Any, scores: Mapping[str, Scored]) -> dict[str, float]:
        """The question's measures, from its answers' scores."""
        raise NotImplementedError


def answer(task: ChoiceTask, questions: Sequence[Any], journal: Journal, quiet: bool = False) -> list[dict[str, Any]]:
    """The record of each question with its measures, whose scores are from the journal or computed now and written there.

    Measures are computed anew from the scores, since they depend on which of the answers are true.
    """
    model, tokenizer = task.loaded.model, task.loaded.tokenizer
    prompts = [task.prompt(question) for question in questions]
    encoded = [encode(model, tokenizer, prompt, task.given(question)) for prompt, question in zip(prompts, questions, strict=True)]
    keys = [key_of(task.key, task.name(question), pairs) for question, pairs in zip(questions, encoded, strict=True)]
    pending = [index for index, key in enumerate(keys) if key not in journal]
    decoder = building.scoring_processors(task.spec, task.loaded, [prompts[index] for index in pending]) if pending else []
    found = score_each(
        model,
        tokenizer,
        [prompts[index] for index in pending],
        [task.given(questions[index]) for index in pending],
        decoder,
        renormalise=task.renormalise,
        batch_tokens=1 if model.device.type == "cpu" else 1024,
    )

    def keep(index: int, scores: Sequence[Score]) -> None:
        journal.add(keys[index], record_of(task, questions[index], scores))

    keep_each(pending, found, keep, len(questions), quiet)
    return [measured(task, question, journal[key]) for question, key in zip(questions, keys, strict=True)]


def record_of(task: ChoiceTask, question: Any, scores: Sequence[Score]) -> dict[str, Any]:
    """A question's scores; a banned answer's, minus infinity, is null."""
    found = dict(zip(task.answers(question), scores, strict=True))
    return {
        "question": task.name(question),
        "scores": {each: None if score.total == -math.inf else score.total for each, score in found.items()},
        "tokens": [len(score.tokens) for score in scores],
    }


def measured(task: ChoiceTask, question: Any, record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with the measures of its question as the data has it now."""
    scores = {
        each: Scored(-math.inf if total is None else total, count)
        for (each, total), count in zip(record["scores"].items(), record["tokens"], strict=True)
    }
    return {**record, "measures": task.measures(question, scores)}


def keep_each(pending: Sequence[int], found: Iterable[Found], keep: Callable[[int, Found], None], total: int, quiet: bool) -> None:
    """Keep each result, with the index of its question, as a bar of all questions advances."""
    with progress_bar("question", total=total, done=total - len(pending), quiet=quiet) as bar:
        for index, result in zip(pending, found, strict=True):
            keep(index, result)
            bar.update()
