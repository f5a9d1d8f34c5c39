"""What the measures take: several texts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean


def as_list(texts: Iterable[str]) -> list[str]:
    """The texts as a list.

    Raises:
        TypeError: If they are one string, whose letters would otherwise be taken for texts.

    Example:
        >>> from counterpoint.eval.metrics.texts import as_list
        >>> as_list(text for text in ("one", "two"))
        ['one', 'two']
    """
    if isinstance(texts, str):
        raise TypeError("texts is one string; pass a list of texts, [text] for a single one")
    return list(texts)


def check_pairs(prompts: list[str], continuations: list[str]) -> None:
    """Check that there are as many prompts as continuations, and some.

    Raises:
        ValueError: If not.
    """
    if len(prompts) != len(continuations):
        raise ValueError(f"{len(continuations)} continuations for {len(prompts)} prompts: give each its own prompt")
    if not prompts:
        raise ValueError("continuations is empty: there is nothing to measure")


def mean_over_texts(values: Iterable[float]) -> float:
    """The mean of a measure that has a value for each text, those without one (nan) left out.

    Raises:
        ValueError: If no text has a value.

    Example:
        >>> from counterpoint.eval import mean_over_texts
        >>> mean_over_texts([0.5, float("nan"), 1.0])
        0.75
    """
    found = [value for value in values if not math.isnan(value)]
    if not found:
        raise ValueError("values: no text has one to average")
    return fmean(found)
