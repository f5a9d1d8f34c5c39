"""Words and runs of them, which rankers compare and metrics count."""

from __future__ import annotations

import re
from collections.abc import Sequence

UNSPACED = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai and Lao, Tibetan, Burmese, Khmer
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Han radicals, kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
"""Ranges of characters of scripts that put no spaces between words."""

WITH_SPACES = re.compile(r"\S+")
WITHOUT_SPACES = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")
UNSPACED_CHARACTER = re.compile(f"[{UNSPACED}]")


def words(text: str) -> list[str]:
    """What white space separates; if most of a text is in scripts without spaces, each of their characters by itself.

    Example:
        >>> from counterpoint.rankers.ngrams import words
        >>> words("It's 今天, isn't it?"), words("今天天气 OK 很好。")
        (["It's", '今天,', "isn't", 'it?'], ['今', '天', '天', '气', 'OK', '很', '好', '。'])
    """
    return [text[start:end] for start, end in word_spans(text)]


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where each of the :func:`words` begins and ends."""
    unspaced = 2 * len(UNSPACED_CHARACTER.findall(text)) > sum(map(len, text.split()))
    return [match.span() for match in (WITHOUT_SPACES if unspaced else WITH_SPACES).finditer(text)]


def ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n words, L - n + 1 of them for L >= n words.

    Example:
        >>> from counterpoint.rankers.ngrams import ngrams
        >>> ngrams(["call", "me", "Ishmael"], 2)
        [('call', 'me'), ('me', 'Ishmael')]
    """
    return list(zip(*(words[start:] for start in range(n)), strict=False))
