"""The prompts of a benchmark, each with the text that follows it where that is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from counterpoint.decoders.forwards.chats import Chat, Prompt, picture_place, shown
from counterpoint.decoders.forwards.encoding import encode_prompt
from counterpoint.eval.chat import TEXTS, ChatFormat, make_prompt
from counterpoint.eval.engines.served import AnyModel
from counterpoint.eval.engines.writing import request_of
from counterpoint.eval.generation import Request
from counterpoint.eval.inputs import JSON_LINES, PLAIN, Row, check_text, decoded, lines_or_records
from counterpoint.eval.loading import Loaded
from counterpoint.eval.prompts import chat_of, checked
from counterpoint.eval.trimming import Trimming
from counterpoint.rankers.continuation_texts import continuation_text, prompt_text

PROMPTS = Path(__file__).parents[1] / "data" / "prompts.jsonl"
"""Public-domain passages that the embedded models were not trained on."""

SPLITS = ("test", "validation", "train")
"""Splits of a data set, of which the first that it has is taken unless one is named."""


@dataclass(frozen=True)
class Passage:
    """A prompt, its tokens, and what a person wrote after it."""

    index: int
    prompt: str
    reference: str | None
    ids: tuple[int, ...]
    request: Request | None = field(default=None, compare=False)
    """The prompt as it was encoded, where it was not cut."""

    def facts(self) -> dict[str, Any]:
        """What its texts depend on."""
        return {"index": self.index, "prompt": self.prompt, "reference": self.reference, "ids": self.ids}


@dataclass(frozen=True)
class Pairs:
    """Prompts and references as their source has them."""

    source: str
    rows: Sequence[tuple[Prompt, str | None]]

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts alone."""
        return [prompt for prompt, _ in self.rows]

    @property
    def sha256(self) -> str:
        """A hash of all prompts, their images and references."""
        rows = [(prompt if isinstance(prompt, str) else plain_chat(prompt), reference) for prompt, reference in self.rows]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def plain_chat(chat: Chat) -> list[Any]:
    """A chat as JSON has it, with the hashes of its images' files."""
    places = [Path(place) for part in chat.pictures if (place := picture_place(part))]
    return [*chat.messages, *(hashlib.sha256(place.read_bytes()).hexdigest() for place in places if place.is_file())]


def read_pairs(file: str | None) -> Pairs:
    """The prompts of a file (lines of text, or JSON Lines), of a data set, or those that come with the package.

    A row of JSON Lines or of a data set has a "prompt", and may have a "reference"; "text" is another word for the prompt, and
    "messages" are a chat in its place.

    Args:
        file: The file, or ``NAME``, ``NAME:CONFIG`` or ``NAME:CONFIG:SPLIT`` of a data set; None for the package's own.

    Raises:
        ValueError: If there is no such source, or it has no prompts.
    """
    path = PROMPTS if file is None else Path(file)
    if path.is_file():
        try:
            content = decoded(path.read_bytes(), f"file={path}")
        except OSError as error:
            raise ValueError(f"file={path}: {error.strerror or error}") from error
        return Pairs(str(path), parse_pairs(content, f"file={path}"))
    if path.suffix.lower() in (*JSON_LINES, *PLAIN, ".csv"):
        raise ValueError(f"file={file} is not there")
    return Pairs(str(file), dataset_pairs(str(file)))


def parse_pairs(content: str, source: str) -> list[tuple[Prompt, str | None]]:
    """A prompt a line, or a record of JSON Lines or CSV, as :func:`~counterpoint.eval.inputs.lines_or_records` tells them."""
    found = lines_or_records(content, source)
    return [(each, None) if isinstance(each, str) else pair_of(each, where) for where, each in found]


def pair_of(fields: Row, where: str) -> tuple[Prompt, str | None]:
    """Prompt and reference of a row."""
    prompt, reference = fields.get("prompt", fields.get("text")), fields.get("reference")
    if reference is not None and not isinstance(reference, str):
        raise ValueError(f'{where}: "reference" is no text')
    if prompt is None and "messages" in fields:
        return chat_of(fields["messages"], where), reference
    if not isinstance(prompt, str):
        raise ValueError(f'{where}: no text under "prompt" (or "text"), and no chat under "messages"')
    return checked(prompt, where), None if reference is None else check_text(reference, where)


def dataset_pairs(name: str) -> list[tuple[Prompt, str | None]]:
    """The rows of a data set that are not blank."""
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ValueError(f"file={name} does not exist, and a data set needs: pip install datasets") from error
    path, _, rest = name.partition(":")
    config, _, split = rest.partition(":")
    try:
        splits = load_dataset(path, config or None)
    except Exception as error:  # the errors of the hub's HTTP client have no public base class
        raise ValueError(f"file={name} is neither a file nor a data set that can be reached: {error}") from error
    chosen = split or next((each for each in SPLITS if each in splits), "")
    if chosen not in splits:
        raise ValueError(f"file={name}: no split {chosen!r}; it has {', '.join(splits)}")
    rows = [row for row in splits[chosen] if str(row.get("prompt", row.get("text", "?"))).strip()]
    if not rows:
        raise ValueError(f"file={name}: no prompts in it")
    return [pair_of(row, f"file={name}, row {number}") for number, row in enumerate(rows, 1)]


def encode_passages(
    loaded: AnyModel,
    pairs: Pairs,
    limit: int | None,
    prompt_tokens: int | None,
    max_new_tokens: int,
    chats: ChatFormat = TEXTS,
) -> list[Passage]:
    """The first ``limit`` passages as tokens; references end where texts do, after ``max_new_tokens``, so that lengths compare.

    Args:
        loaded: The model, whose weights are not needed.
        pairs: Prompts and references.
        limit: How many passages at most; None for all.
        prompt_tokens: Cut every passage (prompt and reference together) after so many tokens, the prompt before and the reference
            after. Passages that have fewer than ``max_new_tokens`` after the cut are left out. None leaves prompts as they are.
        max_new_tokens: The most tokens of a text.
        chats: How prompts become chats.

    Raises:
        ValueError: If chats are to be cut, a prompt has no tokens or does not leave room in the model's context, or no passage is
            long enough.
    """
    tokenizer: Any = loaded.tokenizer
    if tokenizer is None:
        return served_passages(loaded, pairs, limit, prompt_tokens, max_new_tokens, chats)
    if prompt_tokens is None:
        return [
            passage_of(index, prompt, cut(tokenizer, reference, max_new_tokens), loaded, max_new_tokens, chats)
            for index, (prompt, reference) in enumerate(pairs.rows[:limit])
        ]
    if chats.used or any(isinstance(prompt, Chat) for prompt in pairs.prompts):
        raise ValueError(f"prompt_tokens={prompt_tokens} cuts texts, and a chat cannot be cut: leave it out")
    found: list[Passage] = []
    for row in pairs.rows:
        ids = encode_prompt(tokenizer, "".join(str(part) for part in row if part))
        if len(ids) < prompt_tokens + max_new_tokens:
            continue
        before, after = ids[:prompt_tokens], ids[prompt_tokens : prompt_tokens + max_new_tokens]
        prompt, reference = prompt_text(tokenizer, before), continuation_text(tokenizer, before, after)
        found.append(Passage(len(found), prompt, reference, tuple(before), prepared(loaded, prompt, before)))
        if len(found) == limit:
            break
    if not found:
        raise ValueError(
            f"prompt_tokens={prompt_tokens}: no passage of {pairs.source} has {prompt_tokens + max_new_tokens} tokens "
            f"(max_new_tokens={max_new_tokens} with it); take fewer, or leave the option out"
        )
    request_of(loaded, found[0].prompt, max_new_tokens)  # raises if they do not fit into the context
    return found


def prepared(loaded: AnyModel, prompt: str, ids: Sequence[int]) -> Request | None:
    """What a server is sent for a prompt that was cut: its tokens, or its text where it takes none."""
    if isinstance(loaded, Loaded):
        return None
    return Request(prompt, tuple(ids) if loaded.endpoint.takes_ids else (), trimming=Trimming(all_of_it=False))


def passage_of(
    index: int, prompt: Prompt, reference: str | None, loaded: AnyModel, max_new_tokens: int, chats: ChatFormat
) -> Passage:
    """A prompt with its tokens; of a chat, its words are what metrics and people read."""
    made = request_of(loaded, make_prompt(prompt, chats), max_new_tokens, Trimming(thinking=chats.marks, all_of_it=False))
    return Passage(index, shown(prompt), reference, made.ids, made)


def served_passages(
    loaded: AnyModel, pairs: Pairs, limit: int | None, prompt_tokens: int | None, max_new_tokens: int, chats: ChatFormat
) -> list[Passage]:
    """The passages for a server whose tokens are not known here; without references, which nothing could cut as long as texts are.

    Raises:
        ValueError: If they are to be cut.
    """
    if prompt_tokens is not None:
        raise ValueError(f"prompt_tokens={prompt_tokens} cuts texts into tokens: give tokenizer=PATH, the model's own")
    rows = enumerate(pairs.rows[:limit])
    return [passage_of(index, prompt, None, loaded, max_new_tokens, chats) for index, (prompt, _) in rows]


def cut(tokenizer: Any, reference: str | None, tokens: int) -> str | None:
    """The reference up to so many tokens; the space it begins with stays, which some tokenizers drop."""
    if reference is None:
        return None
    ids = tokenizer(reference, add_special_tokens=False, verbose=False)["input_ids"]
    if len(ids) <= tokens:
        return reference
    space = reference[: len(reference) - len(reference.lstrip())]
    kept = str(tokenizer.decode(ids[:tokens], skip_special_tokens=True, clean_up_tokenization_spaces=False))
    return space + kept.lstrip()


def by_length(passages: Iterable[Passage]) -> list[Passage]:
    """The passages from the shortest prompt to the longest."""
    return sorted(passages, key=lambda passage: (len(passage.ids), 0 if passage.ids else len(passage.prompt)))
