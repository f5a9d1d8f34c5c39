"""Telling a model's forwards for ``generate`` from those that a logits processor runs on the same model."""

from __future__ import annotations

import threading

from counterpoint.decoders.undoing import Change

_of_this_thread = threading.local()


def side_forward(owner: object) -> Change:
    """While it lasts, forwards of this thread belong to ``owner``, not to the ``generate`` in progress."""
    before = forward_owner()
    return Change(lambda: vars(_of_this_thread).update(owner=owner), lambda: vars(_of_this_thread).update(owner=before))


def forward_owner() -> object | None:
    """The owner of this thread's forwards; None if they belong to ``generate`` or to the user."""
    return getattr(_of_this_thread, "owner", None)
