"""FACTOR as multiple choice: its contexts, completions and accuracy."""

from __future__ import annotations

from collections.abc import Mapping

from counterpoint.eval.journal import key_of
from counterpoint.eval.questions.choice_task import ChoiceTask, Scored
from counterpoint.eval.questions.factor import Completion, factor_accuracy


class FactorTask(ChoiceTask):
    """The true completion of a context against the false ones."""

    def name(self, question: Completion) -> str:
        """The row, and what it asks: another file, or another column of contexts, has another question in it."""
        return f"row {question.row} ({key_of(question.context, question.true, list(question.false))[:8]})"

    def text(self, question: Completion) -> str:
        """The context."""
        return question.context

    def answers(self, question: Completion) -> list[str]:
        """All completions, each once."""
        return list(dict.fromkeys([question.true, *question.false]))

    def measures(self, question: Completion, scores: Mapping[str, Scored]) -> dict[str, float]:
        """Accuracy by the sum of the tokens' scores, as DoLa's released code, and by their mean, as the benchmark's own."""
        true, false = scores[question.true], [scores[each] for each in question.false]
        return {
            "accuracy": factor_accuracy(true.total, [each.total for each in false]),
            "accuracy_per_token": factor_accuracy(per_token(true), [per_token(each) for each in false]),
        }


def per_token(score: Scored) -> float:
    """The mean score of a completion's tokens, with which a long completion is not at a disadvantage."""
    return score.total / score.tokens
