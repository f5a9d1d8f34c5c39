"""A change of a model that lasts while anybody uses it; the last user undoes it, however the call ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Generic, TypeVar

from counterpoint.decoders.undoing import Change

T = TypeVar("T")


class SharedPatch(Generic[T]):
    """A change of objects that several calls may use at the same time, nested or from different threads.

    Args:
        apply: Makes the change; it may be called on an object that is already changed.
        undo: Undoes the change; it may be called on an object that is not changed.

    Example:
        >>> patch = SharedPatch[dict](lambda each: each.update(patched=True), lambda each: each.pop("patched", None))
        >>> subject = {}
        >>> with patch([subject]) as change, change:
        ...     with patch([subject]) as again, again:
        ...         pass
        ...     subject
        {'patched': True}
        >>> subject
        {}
    """

    def __init__(self, apply: Callable[[T], object], undo: Callable[[T], object]) -> None:
        self.apply, self.undo = apply, undo
        self.lock = threading.Lock()
        self.users: dict[int, set[object]] = {}
        """The contexts that are open, by the identity of what they have changed."""

    def __call__(self, subjects: Iterable[T]) -> Change:
        """While it lasts, ``subjects`` are changed."""
        user, held = object(), list(subjects)
        return Change(partial(self._begin, user, held), partial(self._end, user, held))

    def _begin(self, user: object, held: list[T]) -> None:
        with self.lock:
            for subject in held:
                self.users.setdefault(id(subject), set()).add(user)
                self.apply(subject)

    def _end(self, user: object, held: list[T]) -> None:
        with self.lock:
            for subject in held:
                users = self.users.get(id(subject))
                if users is None:  # undone already, or not begun
                    continue
                users.discard(user)
                if not users:
                    self.undo(subject)
                    self.users.pop(id(subject), None)
