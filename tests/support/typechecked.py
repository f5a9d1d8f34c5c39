"""The check of types and shapes that every function of the packages has in the tests."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import partial, wraps
from types import FunctionType
from typing import Any

import torch
from beartype import beartype

SHAPE = re.compile(r"\b(Bool|Float|Float32|Float64|Int|Int64|Num|Real|Shaped)\[")
QUOTED = re.compile(r"[\[,] ?'|ForwardRef")  # a name within an alias, such as Mapping[str, "Tensor"]


def typechecked(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with its annotations checked at each call.

    Functions within functions are made anew at each call of the outer one, and writing a check takes a millisecond, so that they
    are left as they are; what they are given and give passes through functions that are checked.
    """
    return function if "<locals>" in function.__qualname__ else beartype(function)


def resolved(function: Callable[..., Any]) -> bool:
    """Whether all of its annotations have a value already; jaxtyping leaves out those that have none."""
    try:
        return QUOTED.search(str(inspect.signature(function, eval_str=True))) is None
    except (NameError, TypeError, AttributeError):
        return False


def eager_only(function: Callable[..., Any], checked: Callable[..., Any]) -> Callable[..., Any]:
    """``checked``, or ``function`` itself where torch compiles it: sizes in a graph are no numbers that a check could remember."""

    @wraps(function)
    def either(*arguments: Any, **keywords: Any) -> Any:
        return (function if torch.compiler.is_compiling() else checked)(*arguments, **keywords)

    return either


def by_shapes(jaxtyped: Callable[..., Any]) -> Callable[..., Any]:
    """jaxtyping's decorator for functions whose annotations have shapes, which costs some 50 microseconds a call; others need none.

    Args:
        jaxtyped: ``jaxtyping.jaxtyped``.
    """

    def decorate(function: Any, *, typechecker: Callable[..., Any]) -> Any:
        if not isinstance(function, FunctionType):
            return jaxtyped(function, typechecker=typechecker)
        shaped = any(SHAPE.search(str(each)) for each in function.__annotations__.values())
        if "<locals>" in function.__qualname__ or (not shaped and resolved(function)):
            return typechecker(function)
        return eager_only(function, jaxtyped(function, typechecker=typechecker))

    return partial(partial, decorate)  # jaxtyping's hook writes @jaxtyped(typechecker=...) above each function and class
