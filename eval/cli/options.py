"""The kinds of values that options take, as argparse checks them."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """A whole number above 0."""
    return at_least(1, text)


def non_negative(text: str) -> int:
    """A whole number, 0 or more."""
    return at_least(0, text)


def at_least(least: int, text: str) -> int:
    """A whole number that is not below ``least``."""
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
    return int(text)


def share(text: str) -> float:
    """A number between 0 and 1, both excluded."""
    number = above_zero(text)
    if number >= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0 and 1")
    return number


def above_zero(text: str) -> float:
    """A number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
