"""Rankers, which choose among continuations of a text."""

from counterpoint.rankers.base import Judge, Ranker, Scores

__all__ = ["Judge", "Ranker", "Scores"]
