"""Prompts in files: one a line, or JSON Lines of texts and chats, or CSV."""

from __future__ import annotations

from pathlib import Path

from counterpoint.decoders.forwards.chats import Chat, Prompt, checked_messages, picture_place
from counterpoint.eval.inputs import Row, check_text, lines_or_records


def parse_prompts(content: str, source: str) -> list[Prompt]:
    """One prompt a line, or one a record of JSON Lines or CSV, as :func:`~counterpoint.eval.inputs.lines_or_records` tells them."""
    found = lines_or_records(content, source)
    return [checked(each, where) if isinstance(each, str) else prompt_field(each, where) for where, each in found]


def prompt_field(fields: Row, where: str) -> Prompt:
    """The "prompt" of a record, or the chat of its "messages"."""
    if "messages" in fields and "prompt" not in fields:
        return chat_of(fields["messages"], where)
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or "messages" in fields:
        raise ValueError(f'{where}: not a JSON object with a text under "prompt" (or a chat under "messages")')
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


def checked(prompt: str, where: str) -> str:
    """The prompt, unless it is blank or holds half of a character."""
    if not prompt.strip():
        raise ValueError(f"{where} is empty; a decoder needs words to continue")
    return check_text(prompt, where)
