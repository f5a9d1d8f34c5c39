"""Telling a model's forwards for ``generate`` from those that a logits processor runs on the same model."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from counterpoint.decoders.undoing import Undoing

_of_this_thread = threading.local()


@contextmanager
def side_forward(owner: object) -> Iterator[None]:
    """Within the context, forwards of this thread belong to ``owner``, not to the ``generate`` in progress."""
    before = forward_owner()

    def undo() -> None:
        _of_this_thread.owner = before

    with Undoing(undo), Undoing(undo):
        _of_this_thread.owner = owner
        yield


def forward_owner() -> object | None:
    """The owner of this thread's forwards; None if they belong to ``generate`` or to the user."""
    return getattr(_of_this_thread, "owner", None)
