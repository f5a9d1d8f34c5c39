"""Runs of words, which rankers compare and metrics count."""

from __future__ import annotations

from collections.abc import Sequence


def ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n words, L - n + 1 of them for L >= n words.

    Example:
        >>> from counterpoint.rankers.ngrams import ngrams
        >>> ngrams(["call", "me", "Ishmael"], 2)
        [('call', 'me'), ('me', 'Ishmael')]
    """
    return list(zip(*(words[start:] for start in range(n)), strict=False))
