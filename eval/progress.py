"""Progress of long work, on standard error where that is a terminal."""

from __future__ import annotations

from tqdm import tqdm  # type: ignore[import-untyped]


def progress_bar(unit: str, *, total: int | None = None, done: int = 0, quiet: bool = False) -> tqdm:
    """A bar of ``total`` units, to be used as a context and updated as they are done.

    Args:
        unit: What is counted, such as "text" or "question".
        total: How many there are, None where it turns out later.
        done: How many were done before, which the time that is left does not count.
        quiet: Whether there shall be no bar even on a terminal.
    """
    return tqdm(unit=unit, total=total, initial=done, disable=True if quiet else None)  # None: only on a terminal
