"""New tokens as the text that is measured: up to the end of text or a stop string, without the thinking where that is cut."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from counterpoint.rankers.continuation_texts import continuation_text, end_of

MARKS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
    ("<|channel>thought", "<channel|>"),
)
"""Where thinking begins and where it ends, in the templates of families that think; the first where a template has none of them."""


@dataclass(frozen=True)
class Trimming:
    """Where the text that new tokens are is cut.

    Args:
        stop: Texts at the first of which a text ends, without it.
        thinking: Where thinking begins and ends, if it is cut off.
    """

    stop: tuple[str, ...] = ()
    thinking: tuple[str, str] | None = None
    all_of_it: bool = True
    """Whether bytes that no token completed to a character are shown, as the sign that ``decode`` has for them."""


WHOLE = Trimming()
"""All of a text, up to its end."""


@dataclass(frozen=True)
class TrimmedText:
    """What is measured of a text."""

    text: str
    tokens: int
    """All that were generated for it: of the thinking, the stop string and the end of text too."""
    finished: bool
    """Whether it came to its end, rather than to the most tokens it may have."""
    thinking: str | None = None
    """What was cut; None if nothing was."""


def trim_tokens(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int],
    new: Sequence[int],
    ends: int | Sequence[int] | None,
    trimming: Trimming = WHOLE,
) -> TrimmedText:
    """What is measured of the text that new tokens are.

    Args:
        tokenizer: The model's tokenizer.
        prompt: The prompt's tokens.
        new: The tokens that follow it; what comes after their end is padding.
        ends: Tokens that end a text.
        trimming: Stop strings and thinking.
    """
    end = end_of(new, ends)
    own = list(new[:end])
    stopped = first_with(trimming.stop, len(own), lambda count: continuation_text(tokenizer, prompt, own[:count]))
    own = own[:stopped]
    answer, thinking = 0, None
    if trimming.thinking is not None:
        answer, thinking = thought(tokenizer, prompt, own, *trimming.thinking)
    text = continuation_text(tokenizer, [*prompt, *own[:answer]], own[answer:], all_of_it=trimming.all_of_it)
    text = before_any(text, trimming.stop) if stopped is not None else text
    return TrimmedText(text if thinking is None else text.lstrip(), len(own), end is not None or stopped is not None, thinking)


def thought(tokenizer: Any, prompt: Sequence[int], new: Sequence[int], begin: str, end: str) -> tuple[int, str | None]:
    """How many tokens the thinking has, and what it is; it lasts to the end if it does not end before."""

    def text(count: int) -> str:
        return str(tokenizer.decode(list(new[:count]), skip_special_tokens=False))

    opened = str(tokenizer.decode(list(prompt[-16:]), skip_special_tokens=False)).rstrip().endswith(begin)
    count = first_with([end], len(new), text)
    if count is None and not opened and begin not in text(len(new)):
        return 0, None
    count = len(new) if count is None else count
    return count, thinking_in(text(count), (begin, end))


def trim_text(text: str, tokens: int, finished: bool, trimming: Trimming = WHOLE) -> TrimmedText:
    r"""The same where the tokens are not known: a text as a server gave it.

    Example:
        >>> from counterpoint.eval.trimming import Trimming, trim_text
        >>> found = trim_text("<think>\nIs it?\n</think>\n\nIt is.", 9, True, Trimming(thinking=("<think>", "</think>")))
        >>> found.text, found.thinking
        ('It is.', 'Is it?')
    """
    text, marks = before_any(text, trimming.stop), trimming.thinking
    if marks is None or not any(mark in text for mark in marks):
        return TrimmedText(text, tokens, finished)
    return TrimmedText(without_thinking(text, marks).lstrip(), tokens, finished, thinking_in(text, marks))


def thinking_in(text: str, marks: tuple[str, str]) -> str:
    """What stands between the marks; all of a text that has none, which began before it and did not end."""
    begin, end = marks
    return text.partition(end)[0].rpartition(begin)[2].strip()


def without_thinking(text: str, marks: tuple[str, str]) -> str:
    r"""A given text without its thinking.

    Example:
        >>> from counterpoint.eval.trimming import without_thinking
        >>> without_thinking("<think>\nIs it?\n</think>\n\nIt is.", ("<think>", "</think>"))
        'It is.'
    """
    begin, end = marks
    if end in text:
        return text.partition(end)[2].lstrip()
    return text.partition(begin)[0]


def first_with(wanted: Sequence[str], most: int, text_of: Callable[[int], str]) -> int | None:
    """The fewest tokens whose text has one of the wanted ones; None if all of them have none."""

    def has(count: int) -> bool:
        text = text_of(count)
        return any(each in text for each in wanted)

    return bisect_left(range(most + 1), True, key=has) if wanted and has(most) else None


def before_any(text: str, wanted: Sequence[str]) -> str:
    """The text before the first of the wanted ones."""
    return text[: min((place for each in wanted if (place := text.find(each)) >= 0), default=len(text))]


def marks_of(template: str) -> tuple[str, str]:
    """Where thinking begins and ends by a template."""
    return next((marks for marks in MARKS if marks[0] in template and marks[1] in template), MARKS[0])
