"""Files of texts that were made elsewhere: rows of JSON Lines, each with the prompt that it continues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from counterpoint.decoders.forwards.chats import shown
from counterpoint.eval.inputs import Row, check_text, json_object
from counterpoint.eval.prompts import chat_of

Prompts = Mapping[int, tuple[str, str | None]]
"""Prompts and references by index."""


@dataclass(frozen=True)
class Given:
    """A text that was made elsewhere."""

    index: int
    """Index of the prompt that it continues."""
    sample: int
    """Which of the prompt's texts it is, from 0."""
    text: str
    tokens: int | None
    finished: bool | None
    """Whether it came to its end; None where the file does not say."""


def read_given(content: str, source: str, prompts: Prompts, *, by_place: bool = True) -> list[Given]:
    r"""The texts of JSON Lines as Ray Data, an offline engine or anybody writes them.

    A row has its text under "text", or "generated_text" as Ray Data calls it, and says by "prompt" (or "messages") which prompt it
    continues, or by "index", the prompt's place counted from 0. The order of rows says nothing, since Ray Data keeps none; several
    of a prompt are its samples. "tokens" (or "num_generated_tokens") and "finish_reason" are kept where they are given.

    Args:
        content: The file.
        source: What complaints call it.
        prompts: The benchmark's.
        by_place: Whether "index" alone says the prompt; not where a benchmark left prompts out.

    Raises:
        ValueError: With the line, for what is no such row and for a prompt that the benchmark has not, or has twice; for unequal
            numbers of samples, and where every text begins with its prompt.

    Example:
        >>> from counterpoint.eval.outputs import read_given
        >>> rows = '{"prompt": "It was", "generated_text": " late."}\n{"index": 0, "text": " her."}'
        >>> read_given(rows, "outputs.jsonl", {0: ("She saw", None), 1: ("It was", None)})[0]
        Given(index=1, sample=0, text=' late.', tokens=None, finished=None)
    """
    places: dict[str, list[int]] = {}
    for index, (prompt, _) in prompts.items():
        places.setdefault(prompt, []).append(index)
    found: list[Given] = []
    samples: Counter[int] = Counter()
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            where = f"{source}, line {number}"
            row = json_object(line, where)
            index = index_of(row, where, prompts, places, by_place)
            found.append(Given(index, samples[index], text_of(row, where), tokens_of(row, where), finished_of(row)))
            samples[index] += 1
    check_all(found, samples, prompts, source)
    return found


def check_all(found: Sequence[Given], samples: Mapping[int, int], prompts: Prompts, source: str) -> None:
    """Refuse what only all rows together show.

    Raises:
        ValueError: If there are none, prompts have different numbers of them, or all begin with their prompts.
    """
    if not found:
        raise ValueError(f"{source}: no texts in it; write a JSON object a line")
    least, most = min(samples, key=samples.__getitem__), max(samples, key=samples.__getitem__)
    if samples[least] != samples[most]:
        raise ValueError(
            f"{source}: prompt {most} has {samples[most]} texts and prompt {least} has {samples[least]}; give as many of each, "
            "since a row that is there twice would count twice"
        )
    if all(each.text.startswith(prompts[each.index][0]) for each in found):
        raise ValueError(f"{source}: every text begins with its prompt; give what follows the prompt alone")


def index_of(row: Row, where: str, prompts: Prompts, places: Mapping[str, Sequence[int]], by_place: bool) -> int:
    """Index of the prompt that a row continues."""
    index = row.get("index")
    words = shown(chat_of(row["messages"], where)) if "messages" in row else row.get("prompt")
    if words is not None and not isinstance(words, str):
        raise ValueError(f'{where}: "prompt" is no text')
    if index is None and words is None:
        raise ValueError(f'{where}: which prompt does it continue? Give its "prompt" (or "messages"), or its "index"')
    if index is None:
        own = places.get(str(words), [])
        if not own:
            raise ValueError(
                f"{where}: its prompt is none of the benchmark's {len(prompts)}, which are compared word by word; where a template "
                'was put around it, give "messages" or "index"'
            )
        if len(own) > 1:
            raise ValueError(f'{where}: its prompt is there {len(own)} times; give "index", from 0')
        return own[0]
    if isinstance(index, bool) or not isinstance(index, int) or index not in prompts:
        raise ValueError(f'{where}: "index" is {index!r}, and the benchmark has prompts 0 to {max(prompts)}')
    if words is None and not by_place:
        raise ValueError(
            f'{where}: the benchmark cut its prompts and left out short ones: give each row its "prompt" as it was cut'
        )
    if words is not None and words != prompts[index][0] and ("messages" in row or words in places):
        raise ValueError(f'{where}: "index" is {index}, counted from 0, and its prompt is another one of the benchmark\'s')
    return index


def text_of(row: Row, where: str) -> str:
    """A row's text, which may be empty."""
    text = row.get("generated_text", row.get("text"))
    if not isinstance(text, str):
        raise ValueError(f'{where}: no text under "text" (or "generated_text")')
    return check_text(text, where)


def tokens_of(row: Row, where: str) -> int | None:
    """How many tokens a row's text has, if it says so."""
    tokens: Any = row.get("num_generated_tokens", row.get("tokens"))
    if tokens is not None and (isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0):
        raise ValueError(f'{where}: "tokens" is {tokens!r}, not a whole number')
    return tokens


def finished_of(row: Row) -> bool | None:
    """Whether a row's text came to its end, if it says so in vLLM's words."""
    reason = row.get("finish_reason")
    return None if reason is None else bool(reason == "stop")
