"""Values of parameters on the command line: ``text`` in ``key=text``, of the kind that the parameter's default is."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from difflib import get_close_matches

from counterpoint.eval.errors import UsageError

Value = bool | int | float | str

Ranges = Mapping[str, tuple[int | float, int | float]]
"""Smallest and largest values of numbers by parameter; those not listed are 0 or more."""


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
