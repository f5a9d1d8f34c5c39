"""What a parameter that is text may be, said as the choice is read and before a model is loaded; no torch."""

from __future__ import annotations

import math
from collections.abc import Callable

Check = Callable[[str, str], object]
"""Called with a parameter's name and its text; it raises a ``ValueError`` that names both and what is right."""


def one_of(*words: str) -> Check:
    """The text is one of some words.

    Example:
        >>> from counterpoint.decoders.choosing.words import one_of
        >>> one_of("uniform", "zero")("mask", "none")
        Traceback (most recent call last):
        ValueError: mask=none is not one of uniform, zero
    """

    def check(key: str, text: str) -> None:
        if text not in words:
            raise ValueError(f"{key}={text} is not one of {', '.join(filter(None, words))}")

    return check


def layers_or(*words: str) -> Check:
    """The text is one of some words, or numbers of layers."""

    def check(key: str, text: str) -> None:
        if text not in words:
            numbers(key, text, words)

    return check


def number_or(word: str) -> Check:
    """The text is a word or a finite number."""

    def check(key: str, text: str) -> None:
        try:
            finite = text == word or math.isfinite(float(text))
        except ValueError:
            finite = False
        if not finite:
            raise ValueError(f"{key}={text} is neither {word} nor a number")

    return check


def numbers(key: str, text: str, words: tuple[str, ...] = ()) -> list[int]:
    """Whole numbers that are separated by "+" or ",".

    Args:
        key: The parameter's name.
        text: Its text.
        words: What else it may be, for the error.

    Raises:
        ValueError: If it is anything else.

    Example:
        >>> from counterpoint.decoders.choosing.words import numbers
        >>> numbers("layers", "2+4")
        [2, 4]
    """
    found = text.replace("+", ",").split(",")
    if not all(word.strip().isdecimal() for word in found):
        way_out = f"{' or '.join(words)}, or " if words else ""
        raise ValueError(f"{key}={text} are not layers: give {way_out}numbers with '+' between them, e.g. {key}=2+4")
    return [int(word) for word in found]
