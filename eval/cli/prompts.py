"""Prompts from the command line, a file or standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from counterpoint.decoders.forwards.chats import Prompt
from counterpoint.eval.cli.errors import CommandError, UsageError
from counterpoint.eval.inputs import decoded
from counterpoint.eval.prompts import checked, parse_prompts


def read_prompts(prompt: str | None, file: str | None) -> list[Prompt]:
    """The prompts to continue, in order.

    Args:
        prompt: The prompt itself; "-" is standard input.
        file: A file of prompts; "-" is standard input, which is also read if there is neither and it is not a terminal.

    Raises:
        UsageError: If there is nothing to read.
        CommandError: If the file cannot be read.
        ValueError: If there are no prompts, or one of them is empty.
    """
    if file is not None and file != "-":
        return parse_prompts(read_file(file), file)
    if prompt is not None and prompt != "-":
        return [checked(prompt, "the prompt")]
    if prompt is None and file is None and sys.stdin.isatty():
        raise UsageError("no prompt: give one as an argument, or more by --file or on standard input")
    return parse_prompts(sys.stdin.read(), "standard input")


def read_file(path: str) -> str:
    """The text of a UTF-8 file, without a byte order mark."""
    try:
        return decoded(Path(path).read_bytes(), f"--file {path}")
    except OSError as error:
        raise CommandError(f"--file {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise CommandError(str(error)) from error
