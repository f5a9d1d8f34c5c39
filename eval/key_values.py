"""Values of parameters on the command line: ``text`` in ``key=text``, of the kind that the parameter's default is."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from counterpoint.eval.errors import UsageError

Value = bool | int | float | str

Ranges = Mapping[str, tuple[int | float, int | float]]
"""Smallest and largest values of numbers by parameter; those not listed are 0 or more."""


def pairs(words: Sequence[str], owner: str, hint: str = "") -> list[tuple[str, str]]:
    """What ``NAME:key=value,...`` attaches to its name, then ``key=value`` after ``key=value``, as text.

    Raises:
        UsageError: For what is not ``key=value``, with what it is for and the hint.
    """
    given = []
    for word in [*filter(None, words[0].partition(":")[2].split(",")), *words[1:]]:
        key, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"{owner}: {word!r} is not key=value{hint}")
        given.append((key, text))
    return given


def parse_values(given: Sequence[tuple[str, str]], known: Mapping[str, Value], owner: str, ranges: Ranges) -> dict[str, Value]:
    """The values that are given, each of the kind that its default in ``known`` is.

    Raises:
        UsageError: For a key that is not known, or a wrong value.
    """
    values = {}
    for key, text in given:
        if key not in known:
            raise UsageError(f"{owner} has no {key!r}{suggestion(key, known)}; it takes: {', '.join(known)}")
        values[key] = parse_value(key, text, known[key], ranges)
    return values


def parse_value(key: str, text: str, default: Value, ranges: Ranges) -> Value:
    """``text`` as a value of the default's type, within the parameter's range."""
    value = text if type(default) is str else literal(text)
    if type(default) is float and type(value) is int:
        value = float(value)
    kind = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[type(default)]
    if not isinstance(value, Value) or type(value) is not type(default):
        raise UsageError(f"{key}={text} is not {kind}; the default is {key}={default}")
    low, high = ranges.get(key, (0, math.inf))
    if isinstance(value, int | float) and not low <= value <= high:
        limits = f"between {low} and {high}" if high < math.inf else f"of {low} or more"
        raise UsageError(f"{key}={text} is not {kind} {limits}; the default is {key}={default}")
    return value


def literal(text: str) -> object:
    """A Python number or constant, ``true`` and ``false`` also in lower case, or else the text itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def suggestion(word: str, known: Mapping[str, object]) -> str:
    """A question to append to an error, if ``word`` looks like one that is known."""
    close = get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
