"""The check of types and shapes that every function of the packages has in the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import beartype


def typechecked(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with its annotations checked at each call.

    Functions within functions are made anew at each call of the outer one, and writing a check takes a millisecond, so that they
    are left as they are; what they are given and give passes through functions that are checked.
    """
    return function if "<locals>" in function.__qualname__ else beartype(function)
