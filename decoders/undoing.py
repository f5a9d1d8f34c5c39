"""Changes that are taken back however a call ends, also by Ctrl-C while they are taken back."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType


class Undoing:
    """A context at whose end ``undo`` is called.

    An interrupt may come at any line, those of ``undo`` among them. So the context begins before the change, two of them stand
    around it, and ``undo`` may be called before the change and again after it has been undone.

    Example:
        >>> changed = []
        >>> with Undoing(changed.clear), Undoing(changed.clear):
        ...     changed.append(1)
        >>> changed
        []
    """

    def __init__(self, undo: Callable[[], object]) -> None:
        self.undo = undo

    def __enter__(self) -> None:
        """Nothing is changed yet."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Undo the change; an error goes on."""
        self.undo()
