"""Something changed in a model while anybody uses it, and given back by the last who does, however the call ends."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedPatch(Generic[T]):
    """A change of objects that several calls may want at a time, from threads of their own or one within the other.

    Args:
        apply: Makes the change; what it changed already may be given again.
        undo: Takes it back; what is not changed may be given as well.

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
