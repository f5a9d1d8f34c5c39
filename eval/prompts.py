"""Prompts from the command line, a file or standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from counterpoint.eval.errors import CommandError, UsageError


def read_prompts(prompt: str | None, file: str | None) -> list[str]:
    """The prompts to continue, in order.

    Args:
        prompt: The prompt itself; "-" is standard input.
        file: A file of prompts; "-" is standard input, which is also read if there is neither and it is not a terminal.

    Raises:
        UsageError: If there is nothing to read.
        CommandError: If the file cannot be read, has no prompts, or one of them is empty.
    """
    if file is not None and file != "-":
        return parse_prompts(read_file(file), file)
    if prompt is not None and prompt != "-":
        return [checked(prompt, "the prompt")]
    if prompt is None and file is None and sys.stdin.isatty():
        raise UsageError("no prompt: give one as an argument, or more by --file or on standard input")
    return parse_prompts(sys.stdin.read(), "standard input")


def parse_prompts(content: str, source: str) -> list[str]:
    """One prompt a line, or the "prompt" of one JSON object a line if the first line is one; blank lines are skipped."""
    lines = [(number, line) for number, line in enumerate(content.removesuffix("\n").split("\n"), 1) if line.strip()]
    if not lines:
        raise CommandError(f"{source}: no prompts in it; write one a line")
    is_jsonl = isinstance(decoded(lines[0][1]), dict)
    prompts = []
    for number, line in lines:
        where = f"{source}, line {number}"
        prompts.append(checked(prompt_field(line, where), where) if is_jsonl else line.removesuffix("\r"))
    return prompts


def prompt_field(line: str, where: str) -> str:
    """The "prompt" of a line of JSON."""
    record = decoded(line)
    prompt = record.get("prompt") if isinstance(record, dict) else None
    if not isinstance(prompt, str):
        raise CommandError(f'{where}: not a JSON object with a text under "prompt", unlike the first line')
    return prompt


def decoded(line: str) -> object:
    """The JSON value of a line, None if it is not JSON."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def checked(prompt: str, where: str) -> str:
    """The prompt, unless it is blank."""
    if not prompt.strip():
        raise CommandError(f"{where} is empty; a decoder needs words to continue")
    return prompt


def read_file(path: str) -> str:
    """The text of a UTF-8 file, without a byte order mark."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--file {path}: {error}") from error
