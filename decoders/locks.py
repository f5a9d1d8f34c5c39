"""Locks of objects that can be copied and pickled."""

from __future__ import annotations

import threading
from types import TracebackType


class Lock:
    """A lock that the thread which holds it may take again; the copy of an object that has one gets one of its own.

    Example:
        >>> import copy
        >>> with (lock := Lock()), copy.copy(lock):
        ...     pass
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def __enter__(self) -> None:
        """Wait for it."""
        self.lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let others have it."""
        self.lock.release()

    def __reduce__(self) -> tuple[type[Lock], tuple[()]]:
        return Lock, ()
