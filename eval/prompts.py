"""Prompts in texts: one a line, or JSON Lines."""

from __future__ import annotations

import json


def parse_prompts(content: str, source: str) -> list[str]:
    """One prompt a line, or the "prompt" of one JSON object a line if the first line is one; blank lines are skipped."""
    lines = [(number, line) for number, line in enumerate(content.removesuffix("\n").split("\n"), 1) if line.strip()]
    if not lines:
        raise ValueError(f"{source}: no prompts in it; write one a line")
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
        raise ValueError(f'{where}: not a JSON object with a text under "prompt", unlike the first line')
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
        raise ValueError(f"{where} is empty; a decoder needs words to continue")
    return prompt
