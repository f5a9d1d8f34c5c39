"""What the measures take: several texts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
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


def check_long_enough(totals: Sequence[int], n: int, quiet: bool = False) -> None:
    """Check that some texts have n-grams, and warn if others have none.

    Args:
        totals: The n-grams of each text.
        n: Words in an n-gram.
        quiet: Whether not to warn.

    Raises:
        ValueError: If none has any.
    """
    if not any(totals):
        raise ValueError(f"texts: none is long enough to hold a {n}-gram (words are what whitespace separates)")
    if not quiet and (short := sum(not total for total in totals)):
        warnings.warn(f"{short} of {len(totals)} texts have fewer than {n} words and are left out", stacklevel=4)


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
