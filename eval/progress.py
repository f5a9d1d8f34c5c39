"""Progress of long work on standard error: a bar on a terminal, and elsewhere a line every so often."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm  # type: ignore[import-untyped]

SECONDS = 30.0
"""Time between lines where there is no terminal."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with what is kept."""


class Progress:
    """How much is done of how much; a context, which after Ctrl-C says what is kept.

    Args:
        unit: What is counted, such as "text" or "question".
        total: How many there are, None where it turns out later.
        done: How many were done before, which the time that is left does not count.
        quiet: Whether there shall be neither bar nor lines.
        kept: What is said after Ctrl-C, with ``{done}`` for how much of how much.
        continues: Whether the same command goes on where it was stopped.
    """

    def __init__(self, unit: str, total: int | None, done: int, quiet: bool, kept: str, continues: bool) -> None:
        self.bar = tqdm(unit=unit, total=total, initial=done, disable=True if quiet else None)  # None: only on a terminal
        self.unit, self.total, self.done, self.before = unit, total, done, done
        self.kept = f"{kept}; the same command continues" if continues else kept
        self.what, self.lines = "", not quiet and bool(self.bar.disable)
        self.begun = self.told = time.monotonic()

    def describe(self, what: str) -> None:
        """What is worked at now."""
        self.what = what
        self.bar.set_description(what, refresh=False)

    def tell(self, text: str) -> None:
        """A figure beside the bar."""
        self.bar.set_postfix_str(text, refresh=False)

    def update(self, count: int = 1) -> None:
        """So many more are done."""
        self.reach(self.done + count)

    def reach(self, done: int, total: int | None = None) -> None:
        """So many are done by now, of ``total`` if that is known only now."""
        if total is not None:
            self.bar.total = self.total = total
        if not self.bar.disable:
            self.bar.update(done - self.bar.n)
        self.done = done
        now = time.monotonic()
        if self.lines and now - self.told >= SECONDS:
            self.told = now
            sys.stderr.write(f"counterpoint: {self.line(now - self.begun)}\n")
            sys.stderr.flush()

    def line(self, seconds: float) -> str:
        """What is done, and how much time is left at the pace so far."""
        of = "" if self.total is None else f" of {self.total}"
        new = self.done - self.before
        left = f", {clock((self.total - self.done) * seconds / new)} left" if self.total is not None and new > 0 else ""
        return f"{f'{self.what}: ' if self.what else ''}{self.unit} {self.done}{of}{left}"

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.bar.close()
        if kind is KeyboardInterrupt:
            of = "" if self.total is None else f" of {self.total}"
            raise Interrupted(f"interrupted: {self.kept.format(done=f'{self.done}{of}')}") from error


def progress_bar(
    unit: str, *, total: int | None = None, done: int = 0, quiet: bool = False, kept: str = "", continues: bool = True
) -> Progress:
    """Progress of ``total`` units, to be used as a context and updated as they are done; see :class:`Progress`."""
    return Progress(unit, total, done, quiet, kept or f"{{done}} {unit}s are kept", continues)


def clock(seconds: float) -> str:
    """A time as people read it.

    Example:
        >>> from counterpoint.eval.progress import clock
        >>> clock(59.6), clock(3725.0)
        ('1:00', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
