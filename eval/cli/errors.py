"""Failures that the command line reports in one line, and how errors of the library become such failures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager


class CommandError(Exception):
    """Something the user asked for cannot be done; the message says what and the way out."""

    exit_code = 1


class UsageError(CommandError):
    """The command line itself is wrong."""

    exit_code = 2


@contextmanager
def usage_errors(*arguments: str) -> Iterator[None]:
    """Report a ``ValueError`` of the library as wrong usage, with its arguments written as options.

    Args:
        *arguments: Names of arguments that are options of the command.

    Raises:
        UsageError: In place of a ``ValueError``.

    Example:
        >>> with usage_errors("preset"):
        ...     raise ValueError("preset=xyz is unknown")
        Traceback (most recent call last):
        counterpoint.eval.cli.errors.UsageError: --preset xyz is unknown
    """
    try:
        yield
    except ValueError as error:
        raise UsageError(written_as_options(str(error), arguments)) from error


@contextmanager
def option_names(*arguments: str) -> Iterator[None]:
    """Report errors of the library with its arguments written as options.

    Args:
        *arguments: Names of arguments that are options of the command.

    Raises:
        CommandError: In place of a ``ValueError`` or an ``OSError``.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        raise CommandError(written_as_options(str(error), arguments)) from error


@contextmanager
def file_errors(option: str) -> Iterator[None]:
    """Report what is wrong with a file by the option that named it.

    Raises:
        CommandError: In place of a ``ValueError`` that begins with the file, or an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise CommandError(f"{option} {error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(f"{option} {error}") from error


def written_as_options(message: str, arguments: tuple[str, ...]) -> str:
    """Write ``name=value`` as ``--name value``, and a flag's ``name=True`` as ``--name``, for these arguments.

    Example:
        >>> written_as_options("max_new_tokens=9, top_k=3; or pass dry_run=True", ("max_new_tokens", "dry_run"))
        '--max-new-tokens 9, top_k=3; or pass --dry-run'
    """

    def written(found: re.Match[str]) -> str:
        return f"--{found[1].replace('_', '-')}" + ("" if found[2] else " ")

    return re.sub(rf"\b({'|'.join(arguments)})=(True\b)?", written, message) if arguments else message
