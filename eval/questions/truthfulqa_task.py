"""TruthfulQA as multiple spec: its prompts, answers and measures."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from counterpoint.eval.chat import TEXTS, ChatFormat
from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.loading import Loaded
from counterpoint.eval.questions.choice_task import ChoiceTask, Scored
from counterpoint.eval.questions.multiple_choice import mc1
from counterpoint.eval.questions.qa_prompts import Preset
from counterpoint.eval.questions.truthfulqa import BEST_INCORRECT, Question


class TruthfulQATask(ChoiceTask):
    """All reference answers, each by itself; or, for ``task="binary"``, the letters of two that the prompt shows."""

    def __init__(
        self,
        loaded: Loaded,
        spec: DecoderSpec,
        preset: Preset,
        task: str,
        renormalise: bool,
        seed: int,
        chats: ChatFormat = TEXTS,
    ) -> None:
        self.preset, self.binary = replace(preset, chat_template=chats.used), task == "binary"
        super().__init__(loaded, spec, renormalise, preset.name, preset.before, chats.used, task, seed=seed, chats=chats)

    def name(self, question: Question) -> str:
        """The question itself."""
        return question.text

    def text(self, question: Question) -> str:
        """The preset's text; for the binary choice both answers are in it."""
        if not self.binary:
            return self.preset.text(question.text)
        options = "\n".join(f"({letter}) {answer}" for letter, answer in zip("AB", options_of(question, self.seed), strict=True))
        return self.preset.text(f"{question.text}\n{options}")

    def answers(self, question: Question) -> list[str]:
        """All answers, or the letters of the two."""
        return ["A", "B"] if self.binary else question.answers()

    def measures(self, question: Question, scores: Mapping[str, Scored]) -> dict[str, float]:
        """MC1, MC2 and MC3, or whether the best answer's letter is the likelier one."""
        if not self.binary:
            return question.measures({each: score.total for each, score in scores.items()})
        best, other = "AB" if options_of(question, self.seed)[0] == question.best else "BA"
        return {"binary": mc1(scores[best].total, [scores[other].total])}


def options_of(question: Question, seed: int) -> list[str]:
    """Best and best incorrect answer, in an order that depends on question and seed and on nothing else of the run."""
    if question.best_false is None:
        raise ValueError(f"task binary needs a column {BEST_INCORRECT!r} with an answer for {question.text!r}")
    order = random.Random(f"{seed} {question.text}")  # noqa: S311, an order, no secret
    return order.sample([question.best, question.best_false], 2)
