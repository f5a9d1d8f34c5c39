"""A change of a model that lasts while anybody uses it; the last user undoes it, however the call ends."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedPatch(Generic[T]):
    """A change of objects that several calls may use at the same time, nested or from different threads.

    Args:
        apply: Makes the change; it may be called on an object that is already changed.
        undo: Undoes the change; it may be called on an object that is not changed.

    Example:
        >>> patch = SharedPatch[dict](lambda each: each.update(patched=True), lambda each: each.pop("patched", None))
        >>> subject = {}
        >>> with patch([subject]):
        ...     with patch([subject]):
        ...         pass
        ...     subject
        {'patched': True}
        >>> subject
        {}
    """

    def __init__(self, apply: Callable[[T], object], undo: Callable[[T], object]) -> None:
        self.apply, self.undo = apply, undo
        self.lock = threading.Lock()
        self.users: Counter[int] = Counter()

    @contextmanager
    def __call__(self, subjects: Iterable[T]) -> Iterator[None]:
        """Within the context, ``subjects`` are changed."""
        held: list[T] = []
        try:
            with self.lock:
                for subject in subjects:
                    held.append(subject)  # before the change, so that an interrupt in between takes it back
                    self.users[id(subject)] += 1
                    self.apply(subject)
            yield
        finally:
            with self.lock:
                for subject in held:
                    self.users[id(subject)] -= 1
                    if self.users[id(subject)] <= 0:
                        del self.users[id(subject)]
                        self.undo(subject)
