"""Hooks of modules that last for a context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch.utils.hooks import RemovableHandle

from counterpoint.decoders.undoing import Change


def hooked(*register: Callable[[], RemovableHandle]) -> Change:
    """While it lasts, the hooks that these calls register; after it none of them, however many there were yet.

    Example:
        >>> import torch
        >>> linear = torch.nn.Linear(1, 1)
        >>> with hooked(lambda: linear.register_forward_pre_hook(print)) as hooks, hooks:
        ...     len(linear._forward_pre_hooks)
        1
        >>> len(linear._forward_pre_hooks)
        0
    """
    handles: list[RemovableHandle] = []
    return Change(partial(_register, register, handles), partial(_remove, handles))


def _register(register: Sequence[Callable[[], RemovableHandle]], handles: list[RemovableHandle]) -> None:
    for each in register:
        handles.append(each())


def _remove(handles: list[RemovableHandle]) -> None:
    for handle in handles:
        handle.remove()
