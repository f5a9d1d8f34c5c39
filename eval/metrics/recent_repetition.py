"""How many words of a continuation have just been said."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Iterable
from statistics import fmean

from counterpoint.eval.metrics.texts import as_list, check_pairs
from counterpoint.rankers.ngrams import words

ARTICLES = {"a", "an", "the"}
PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")


def recent_repetition_of_each(prompts: Iterable[str], continuations: Iterable[str], *, window: int = 20) -> list[float]:
    """For each text the share of its words that are among the ``window`` words before them, the prompt's included.

        rep_i = 1 / |x_i| * sum_t 1[ w_t in {w_{t-window}, ..., w_{t-1}} ]

    The *rep* of Krishna et al., *RankGen: Improving Text Generation with Large Ranking Models* (2022, arXiv 2205.09726), after
    Welleck et al., *Neural Text Generation with Unlikelihood Training* (2020, arXiv 1908.04319). Unlike
    :func:`~counterpoint.eval.rep_n` it sees what repeats the prompt, and hardly depends on length. Words are in lower case,
    punctuation and articles left out, as there; the corpus's value is the mean over texts
    (:func:`~counterpoint.eval.mean_over_texts`).

    Args:
        prompts: One for each continuation.
        continuations: The generated texts, without their prompts.
        window: How many words count as recent, 20 in the paper.

    Returns:
        A fraction for each text; nan for a text without words.

    Raises:
        TypeError: If either is one string.
        ValueError: If ``window`` is below 1, or if the numbers of prompts and continuations differ or are 0.

    Example:
        >>> from counterpoint.eval import recent_repetition_of_each
        >>> recent_repetition_of_each(["The whale rose."], ["A whale, and a ship and a sea."])  # whale and the second "and", of 5
        [0.4]
    """
    if window < 1:
        raise ValueError(f"window={window!r}: at least 1 word before has to count")
    before, after = as_list(prompts), as_list(continuations)
    check_pairs(before, after)
    found = []
    for prompt, continuation in zip(before, after, strict=True):
        start, words = len(said(prompt)), [*said(prompt), *said(continuation)]
        repeats = [words[at] in words[max(0, at - window) : at] for at in range(start, len(words))]
        found.append(fmean(repeats) if repeats else math.nan)
    return found


def said(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation and articles."""
    return [word for word in words(PUNCTUATION.sub("", text.lower())) if word not in ARTICLES]
