"""Changes that are taken back however a call ends, also by Ctrl-C while they are taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType


class Change:
    """A change that lasts for a context, which is entered twice: ``with change as it, it:``.

    An interrupt may come at any line, and what it stops is not done: the change halfway, or the very first line of its end. So the
    outer entry changes nothing and stands guard, the inner one makes the change, and both ends take it back. Generators with
    ``contextmanager`` cannot do that: one that is stopped in ``contextlib`` waits until Python collects it.

    Args:
        make: Makes the change.
        undo: Takes it back. It is called before the change where that is not reached, and twice after it.
        check: Raises an error where the change had not the effect that it should have; asked if the context ends without one.

    Example:
        >>> changed = []
        >>> with Change(lambda: changed.append(1), changed.clear) as change, change:
        ...     changed
        [1]
        >>> changed
        []
    """

    def __init__(self, make: Callable[[], object], undo: Callable[[], object], check: Callable[[], object] = lambda: None) -> None:
        self.make, self.undo, self.check = make, undo, check
        self.entries = 0

    def __enter__(self) -> Change:
        """Stand guard the first time, make the change the second time."""
        self.entries += 1
        if self.entries == 2:
            self.make()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Take the change back; an error goes on."""
        self.undo()
        if kind is None:
            if self.entries < 2:
                raise RuntimeError("nothing was changed: enter a change twice, `with change as it, it:`")
            self.check()


class Together(Change):
    """Several changes as one, made in their order; of none, nothing changes."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self.changes = changes
        super().__init__(self._make, self._undo, self._check)

    def _make(self) -> None:
        for change in self.changes:
            change.make()

    def _undo(self) -> None:
        for change in reversed(self.changes):
            change.undo()

    def _check(self) -> None:
        for change in self.changes:
            change.check()


def together(*changes: Change) -> Change:
    """Several changes as one, made in their order; of none, nothing changes."""
    return Together(changes)
