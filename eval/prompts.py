"""Prompts in texts: one a line, or JSON Lines of texts and chats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.decoders.forwards.chats import Chat, Prompt, checked_messages


def parse_prompts(content: str, source: str) -> list[Prompt]:
    """One prompt a line, or one JSON object with "prompt" or "messages" if the first line is one; blank lines are skipped."""
    lines = [(number, line) for number, line in enumerate(content.removesuffix("\n").split("\n"), 1) if line.strip()]
    if not lines:
        raise ValueError(f"{source}: no prompts in it; write one a line")
    is_jsonl = isinstance(decoded(lines[0][1]), dict)
    prompts: list[Prompt] = []
    for number, line in lines:
        where = f"{source}, line {number}"
        prompts.append(prompt_field(line, where) if is_jsonl else checked(line.removesuffix("\r"), where))
    return prompts


def prompt_field(line: str, where: str) -> Prompt:
    """The "prompt" of a line of JSON, or the chat of its "messages"."""
    record = decoded(line)
    fields: Mapping[str, Any] = record if isinstance(record, dict) else {}
    if "messages" in fields and "prompt" not in fields:
        return chat_of(fields["messages"], where)
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or "messages" in fields:
        raise ValueError(
            f'{where}: not a JSON object with a text under "prompt" (or a chat under "messages"), unlike the first line'
        )
    return checked(prompt, where)


def chat_of(messages: object, where: str) -> Chat:
    """The chat of a row's "messages", whose images are there.

    Raises:
        ValueError: For what is no chat, and for an image whose file is missing.
    """
    chat = Chat(checked_messages(messages, where))
    for part in chat.pictures:
        place = picture_place(part)
        if place is None:
            raise ValueError(f'{where}: an image has its file under "path" or "url"')
        if "://" not in place and not Path(place).is_file():
            raise ValueError(f"{where}: there is no image {place}")
    return chat


def picture_place(part: Mapping[str, Any]) -> str | None:
    """Where an image is."""
    return next((str(part[key]) for key in ("path", "url", "image") if isinstance(part.get(key), str)), None)


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
