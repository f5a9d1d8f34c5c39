"""Text on standard output: at once, into a file instead, in styles that only terminals see, and in columns."""

from __future__ import annotations

import errno
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from itertools import zip_longest
from pathlib import Path

from counterpoint.eval.cli.errors import CommandError, UsageError

DIM, BOLD = "2", "1"
NARROWEST_COLUMN = 40
NARROWEST_COLUMNS = 100
GAP = "   "


def write(text: str) -> None:
    """Print a text as it is, at once."""
    print(text, end="", flush=True)


def check_output(output: Path | None, file: str | None, option: str = "--file") -> None:
    """Refuse to write to the file that is read.

    Raises:
        UsageError: If the two are one.
    """
    if output is not None and file not in (None, "-") and output.exists() and Path(file).exists() and output.samefile(file):
        raise UsageError(f"--output {output} is the file that {option} reads; name another")


@contextmanager
def printing_to(path: Path | None) -> Iterator[None]:
    """What is printed in this context goes to the file, if there is one, and otherwise to standard output."""
    if path is None:
        yield
        return
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--output {path}: {error.strerror or error}") from error
    try:
        with file, redirect_stdout(file):
            yield
    except OSError as error:  # of this file if it has no name of its own: a full disk as text is written
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        raise CommandError(f"--output {path} cannot be written: {error.strerror}") from error


def style(text: str, code: str) -> str:
    """Style a text, unless standard output is not a terminal or NO_COLOR is set (https://no-color.org)."""
    styled = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return f"\x1b[{code}m{text}\x1b[0m" if styled else text


def fits_columns(count: int, width: int) -> bool:
    """Whether ``count`` texts are readable side by side in ``width`` characters."""
    return count > 1 and width >= NARROWEST_COLUMNS and column_width(count, width) >= NARROWEST_COLUMN


def column_width(count: int, width: int) -> int:
    """Number of characters in each column."""
    return (width - len(GAP) * (count - 1)) // count


def side_by_side(texts: Sequence[str], width: int) -> str:
    """Lay out texts as columns, with every line wrapped to its column.

    Example:
        >>> from counterpoint.eval.cli.terminal import side_by_side
        >>> print(side_by_side(["one two three", "four"], 15))
        one      four
        two
        three
    """
    column = column_width(len(texts), width)
    columns = [[part for line in text.split("\n") for part in textwrap.wrap(line, column) or [""]] for text in texts]
    rows = zip_longest(*columns, fillvalue="")
    return "\n".join(GAP.join(cell.ljust(column) for cell in row).rstrip() for row in rows)
