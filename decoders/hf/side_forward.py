"""Telling a model's forwards for ``generate`` from those that a logits processor runs on the same model."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_of_this_thread = threading.local()


@contextmanager
def side_forward(owner: object) -> Iterator[None]:
    """Within the context, forwards of this thread are ``owner``'s, not those of the ``generate`` in progress."""
    before = forward_owner()
    _of_this_thread.owner = owner
    try:
        yield
    finally:
        _of_this_thread.owner = before


def forward_owner() -> object | None:
    """Whose the forwards of this thread are; None: those of ``generate`` or of the user."""
    return getattr(_of_this_thread, "owner", None)
