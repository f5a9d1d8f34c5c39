"""Prefixes and their candidates, read from JSON Lines."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from counterpoint.decoders.forwards.chats import Prompt, shown
from counterpoint.eval.cli.errors import CommandError, UsageError, option_names
from counterpoint.eval.cli.prompts import read_file
from counterpoint.eval.inputs import json_object
from counterpoint.eval.prompts import chat_of

PREFIX_KEYS = ("prompt", "prefix", "messages")


@dataclass(frozen=True)
class CandidateList:
    """A prefix, a text or a chat, and its candidates, with the whole record of their line."""

    prefix: Prompt
    candidates: list[str]
    record: Mapping[str, Any]


def read_candidates(file: str | None, option: str = "--file") -> list[CandidateList]:
    """Read the lines of a file, or of standard input if it is "-" or None; blank lines are skipped.

    Args:
        file: The file.
        option: How the command names it.

    Raises:
        UsageError: If there is nothing to read.
        CommandError: If the file cannot be read, or a line is not ``{"prompt" or "prefix": TEXT, "candidates": [TEXT, ...]}``, or
            "messages" with a chat in place of the prompt, without empty texts and without the prompt in them; the message has its
            number.
    """
    if file is None and sys.stdin.isatty():
        raise UsageError(f"no candidates: give JSON Lines by {option} or on standard input")
    source = "standard input" if file in (None, "-") else file
    content = sys.stdin.read() if file is None or file == "-" else read_file(file, option)
    lines = [(number, line) for number, line in enumerate(content.split("\n"), 1) if line.strip()]
    if not lines:
        raise CommandError(f'{source} is empty; write {{"prompt": ..., "candidates": [...]}}, one a line')
    return [parse_line(line, f"{source}, line {number}") for number, line in lines]


def parse_line(line: str, where: str) -> CandidateList:
    """Parse a line into its prefix and candidates.

    Example:
        >>> parse_line('{"prefix": "It was", "candidates": [" late.", " I."], "id": 7}', "line 1").candidates
        [' late.', ' I.']
    """
    record = json_object(line, where)
    prefixes = [record[key] for key in PREFIX_KEYS if key in record]
    if len(prefixes) == 1 and "messages" in record:
        with option_names():
            prefixes = [chat_of(record["messages"], where)]
    elif len(prefixes) != 1 or not isinstance(prefixes[0], str) or not prefixes[0].strip():
        raise CommandError(f'{where}: needs one text that is not empty, under "prompt" or "prefix", or one chat under "messages"')
    candidates = record.get("candidates")
    if not isinstance(candidates, list) or not all(isinstance(text, str) for text in candidates):
        raise CommandError(f'{where}: needs a list of texts under "candidates"')
    for index, text in enumerate(candidates):
        if not text.strip():
            raise CommandError(f"{where}: candidate {index} is empty; leave it out, since a ranker judges words")
    if candidates and all(text.startswith(shown(prefixes[0])) for text in candidates):
        raise CommandError(f"{where}: all candidates begin with the prompt; leave it out of them, since what follows it is judged")
    return CandidateList(prefixes[0], candidates, record)
