"""Hooks that show a model's forwards to an object for as long as it lives, compiled ones at the price of a break in the graph."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import nn
from transformers import PreTrainedModel

from counterpoint.decoders.hf.fixed_shapes.compiled import compiles_itself, is_exporting
from counterpoint.decoders.hf.side_forward import forward_owner


@runtime_checkable
class Watcher(Protocol):
    """An object that watches a model's forwards of one owner: None stands for those of ``generate``, an amateur for its own."""

    model: PreTrainedModel
    owner: object | None


W = TypeVar("W", bound=Watcher)

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments of a forward, by position and by name."""


class Hook(Generic[W]):
    """Shows a module's forwards to a watcher while it lives. The copy of a module shows them to nobody.

    Args:
        watcher: A weak reference.
        see: What is called with the watcher, ``shown`` things and what comes before them, the arguments by position.
        shown: 1 for arguments by name, 2 for those and the output.
    """

    def __init__(self, watcher: Callable[[], W | None], see: Callable[..., Any], shown: int) -> None:
        self.watcher, self.see, self.shown = watcher, see, shown

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...], *shown: Any) -> Any:
        """What the watcher makes of the arguments, or of the output; None leaves them as they are.

        A model that its user compiles is watched between graphs, where nothing can be replaced. What ``generate`` compiles by
        itself may reuse the memory of its tensors, and is not watched.
        """
        if not torch.compiler.is_compiling():
            return self.show(arguments, shown)
        watcher, exporting = self.watcher(), is_exporting() or not torch.compiler.is_dynamo_compiling()
        if watcher is not None and not exporting and not compiles_itself(watcher.model):
            _show_between_graphs(self, arguments, shown)
        return None

    def show(self, arguments: tuple[Any, ...], shown: tuple[Any, ...]) -> Any:
        """What the watcher makes of them, if it lives and the forward is its owner's."""
        if (watcher := self.watcher()) is None or forward_owner() is not watcher.owner:
            return None
        if len(shown) < self.shown:  # another thread is registering this hook, and torch has no word yet of its wanting names
            return None
        return self.see(watcher, arguments, *shown)

    def __reduce__(self) -> tuple[Any, ...]:
        return Hook, (nobody, nobody, self.shown)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _show_between_graphs(hook: Hook[Any], arguments: tuple[Any, ...], shown: tuple[Any, ...]) -> None:
    hook.show(arguments, shown)


def nobody() -> None:
    """The watcher of a copied hook: there is none."""


def watch_inputs(
    watcher: W, module: nn.Module, see: Callable[[W, tuple[Any, ...], Mapping[str, Any]], Inputs | None]
) -> Callable[[], object]:
    """Call ``see(watcher, arguments, keywords)`` before each forward of ``module`` that belongs to the watcher's owner.

    What ``see`` gives are the arguments instead. The result ends it before the watcher's life does.
    """
    hook = Hook(weakref.ref(watcher), see, shown=1)  # a model's hooks must not keep the object that removes them alive
    return weakref.finalize(watcher, module.register_forward_pre_hook(hook, with_kwargs=True).remove)


def watch_output(watcher: W, module: nn.Module, see: Callable[[W, tuple[Any, ...], Mapping[str, Any], Any], None]) -> None:
    """Call ``see(watcher, arguments, keywords, output)`` after each such forward; where it fails, with None for the output."""
    hook = Hook(weakref.ref(watcher), see, shown=2)
    weakref.finalize(watcher, module.register_forward_hook(hook, with_kwargs=True, always_call=True).remove)


def first_input(name: str, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    """The input called ``name``, which a module takes first, by position or by name; None if it was not given."""
    return keywords.get(name, arguments[0] if arguments else None)
