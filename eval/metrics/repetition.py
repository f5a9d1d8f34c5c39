"""Repetition and diversity of generated texts.

Su and Collier, *Contrastive Search Is What You Need For Neural Text Generation* (2023, arXiv 2210.14140), after Li et al.,
*Contrastive Decoding: Open-ended Text Generation as Optimization* (2022, arXiv 2210.15097).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from counterpoint.eval.metrics.texts import as_list
from counterpoint.rankers.ngrams import ngrams


def rep_n(texts: Iterable[str], n: int, *, published: bool = False) -> float:
    """The share of n-grams that repeat an earlier one of the same text, in percent.

        rep-n = 100 * (1 - sum_i |distinct n-grams of text i| / sum_i |n-grams of text i|)

    N-grams are runs of n words, words are what whitespace separates. Counts are summed over the texts before they are divided,
    so long texts weigh more; the same n-gram in two texts is no repetition. The order of the texts does not matter.

    Args:
        texts: The generated texts, without their prompts. Texts of fewer than n words count nothing.
        n: Words in an n-gram, at least 1.
        published: Count as the released code of the paper does, whose loop leaves out the last n-gram of every text and whose
            result is rounded to two decimals. Use it beside published figures; the default is the formula.

    Returns:
        Percent, from 0 (nothing repeats) to below 100.

    Raises:
        TypeError: If ``texts`` is one string.
        ValueError: If ``n`` is below 1, or if no text is long enough to hold an n-gram.

    Example:
        >>> from counterpoint.eval import rep_n
        >>> rep_n(["a rose is a rose is a rose"], n=2)  # 7 bigrams, 3 of them distinct
        57.14285714285714
        >>> rep_n(["a rose is a rose is a rose"], n=2, published=True)  # 6 bigrams
        50.0
    """
    if n < 1:
        raise ValueError(f"n={n!r}: an n-gram has at least 1 word")
    distinct = total = 0
    for text in as_list(texts):
        grams = ngrams(text.split(), n)
        if published:
            grams = grams[:-1]
        distinct += len(set(grams))
        total += len(grams)
    if not total:
        raise ValueError(f"texts: none is long enough to hold a {n}-gram (words are what whitespace separates)")
    repetition = 100 * (1 - distinct / total)
    return round(repetition, 2) if published else repetition


def diversity(texts: Iterable[str], *, published: bool = False) -> float:
    """One number for rep-2, rep-3 and rep-4.

        diversity = (1 - rep-2 / 100) * (1 - rep-3 / 100) * (1 - rep-4 / 100)

    Args:
        texts: As for :func:`rep_n`.
        published: As for :func:`rep_n`; papers then print the result in percent, with two decimals.

    Returns:
        A fraction: 1 where nothing repeats, towards 0 the more does.

    Raises:
        TypeError: If ``texts`` is one string.
        ValueError: If no text has 4 words (5 with ``published``).

    Example:
        >>> from counterpoint.eval import diversity
        >>> diversity(["the cat sat on the mat"])
        1.0
        >>> round(diversity(["a rose is a rose is a rose"]), 4)  # 3/7 * 3/6 * 3/5
        0.1286
    """
    found = as_list(texts)
    return prod(1 - rep_n(found, n, published=published) / 100 for n in (2, 3, 4))
