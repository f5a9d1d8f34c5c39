"""Locks of objects that can be copied and pickled."""

from __future__ import annotations

import threading


class Lock(type(threading.RLock())):  # type: ignore[misc]  # typing has no name for this class, whose ends nothing interrupts
    """A lock that the thread which holds it may take again; the copy of an object that has one gets one of its own.

    Example:
        >>> import copy
        >>> with (lock := Lock()), copy.copy(lock):
        ...     pass
    """

    def __reduce__(self) -> tuple[type[Lock], tuple[()]]:
        return Lock, ()
