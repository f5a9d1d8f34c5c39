"""Hooks that show a model's forwards to an object for as long as it lives; code that ``torch.compile`` made shows nothing."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import nn

from counterpoint.decoders.hf.side_forward import forward_owner


@runtime_checkable
class Watcher(Protocol):
    """An object that watches the forwards of one owner: None stands for those of ``generate``, an amateur for its own."""

    owner: object | None


W = TypeVar("W", bound=Watcher)


def watch_inputs(
    watcher: W, module: nn.Module, see: Callable[[W, tuple[Any, ...], Mapping[str, Any]], None]
) -> Callable[[], object]:
    """Call ``see(watcher, arguments, keywords)`` before each forward of ``module`` that belongs to the watcher's owner.

    Gives what ends it before the watcher's life does.
    """
    alive = weakref.ref(watcher)  # a model's hooks must not keep the object that removes them alive

    def hook(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if not torch.compiler.is_compiling() and (this := alive()) is not None and forward_owner() is this.owner:
            see(this, arguments, keywords)

    return weakref.finalize(watcher, module.register_forward_pre_hook(hook, with_kwargs=True).remove)


def watch_output(watcher: W, module: nn.Module, see: Callable[[W, tuple[Any, ...], Mapping[str, Any], Any], None]) -> None:
    """Call ``see(watcher, arguments, keywords, output)`` after each such forward; where it fails, with None for the output."""
    alive = weakref.ref(watcher)

    def hook(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
        if not torch.compiler.is_compiling() and (this := alive()) is not None and forward_owner() is this.owner:
            see(this, arguments, keywords, output)

    weakref.finalize(watcher, module.register_forward_hook(hook, with_kwargs=True, always_call=True).remove)


def first_input(name: str, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    """The input called ``name``, which a module takes first, by position or by name; None if it was not given."""
    return keywords.get(name, arguments[0] if arguments else None)
