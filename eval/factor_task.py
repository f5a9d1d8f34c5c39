"""FACTOR as multiple choice: its contexts, completions and accuracy."""

from __future__ import annotations

from collections.abc import Mapping

from counterpoint.eval.choice_task import ChoiceTask
from counterpoint.eval.factor import Completion, factor_accuracy


class FactorTask(ChoiceTask):
    """The true completion of a context against the false ones."""

    def name(self, question: Completion) -> str:
        """The row of the file."""
        return f"row {question.row}"

    def prompt(self, question: Completion) -> str:
        """The context."""
        return question.context

    def answers(self, question: Completion) -> list[str]:
        """All completions, each once."""
        return list(dict.fromkeys([question.true, *question.false]))

    def measures(self, question: Completion, scores: Mapping[str, float]) -> dict[str, float]:
        """Accuracy, a tie counted as right."""
        return {"accuracy": factor_accuracy(scores[question.true], [scores[each] for each in question.false])}
