"""Repetition and diversity of generated texts.

Su and Collier, *Contrastive Search Is What You Need For Neural Text Generation* (2023, arXiv 2210.14140), after Li et al.,
*Contrastive Decoding: Open-ended Text Generation as Optimization* (2022, arXiv 2210.15097).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

from counterpoint.eval.metrics.texts import as_list, check_long_enough
from counterpoint.rankers.ngrams import ngrams, words


def rep_n(texts: Iterable[str], n: int, *, published: bool = False) -> float:
    """The share of n-grams that repeat an earlier one of the same text.

        rep-n = 1 - sum_i |distinct n-grams of text i| / sum_i |n-grams of text i|

    N-grams are runs of n words. Words are what white space separates; in a text that is mostly of scripts without spaces, such as
    Chinese, its characters. Counts are summed over the texts before they are divided, so long texts weigh more; the same n-gram in
    two texts does not count as repetition. The order of the texts does not matter. Papers print the value in percent.

    Args:
        texts: The generated texts, without their prompts. Texts of fewer than n words have no n-gram and are left out.
        n: Words in an n-gram, at least 1.
        published: Count as the released code of the paper does, whose loop leaves out the last n-gram of every text and whose
            result is rounded to two decimals of a percentage, and to which white space alone separates words. Use it beside
            published figures; the default is the formula.

    Returns:
        A fraction, from 0 (nothing repeats) to below 1.

    Raises:
        TypeError: If ``texts`` is one string.
        ValueError: If ``n`` is below 1, or if no text is long enough to hold an n-gram.

    Warns:
        UserWarning: If texts are left out, unless ``published``.

    Example:
        >>> from counterpoint.eval import rep_n
        >>> rep_n(["a rose is a rose is a rose"], n=2)  # 7 bigrams, 3 of them distinct
        0.5714285714285714
        >>> rep_n(["a rose is a rose is a rose"], n=2, published=True)  # 6 bigrams
        0.5
    """
    if n < 1:
        raise ValueError(f"n={n!r}: an n-gram has at least 1 word")
    counts = [distinct_and_all(text, n, published) for text in as_list(texts)]
    distinct, total = (sum(kind) for kind in zip(*counts, strict=True)) if counts else (0, 0)
    check_long_enough([found[1] for found in counts], n, quiet=published)
    found: float = repeated(distinct, total)
    return round(found, 4) if published else found


def diversity(texts: Iterable[str], *, published: bool = False) -> float:
    """One number for rep-2, rep-3 and rep-4.

        diversity = (1 - rep-2) * (1 - rep-3) * (1 - rep-4)

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
    product: float = without_repetition(rep_n(found, n, published=published) for n in (2, 3, 4))
    return product


def distinct_and_all(text: str, n: int, published: bool = False) -> tuple[int, int]:
    """How many different n-grams a text has, and how many in all."""
    grams = ngrams(text.split(), n)[:-1] if published else ngrams(words(text), n)
    return len(set(grams)), len(grams)


def repeated(distinct: Any, total: Any) -> Any:
    """rep-n of counts that were summed over texts; numbers, or tensors of them."""
    return 1 - distinct / total


def without_repetition(shares: Iterable[Any]) -> Any:
    """The product of what is left by rep-2, rep-3 and rep-4; numbers, or tensors of them."""
    return prod(1 - share for share in shares)
