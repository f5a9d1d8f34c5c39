"""A text as steps, as process reward models read them: the tokens, and the positions at which each step is judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from counterpoint.decoders.forwards.encoding import encode_prompt

AGGREGATES = ("last", "min", "prod", "mean")
SHEPHERD_TAG = " \u043a\u0438"
"""What follows each step of Math-Shepherd."""
QWEN_TAG = "<extra_0>"
QWEN_SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."


class Steps(NamedTuple):
    """A text as a model reads it."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    """Where each step's probability is read."""


Reader = Callable[[PreTrainedTokenizerBase, str, Sequence[str], str], Steps]
"""Writes a prefix and its steps, which the last argument separates."""


def steps_of(text: str, separator: str) -> list[str]:
    r"""The steps of a text, without those that are blank.

    Example:
        >>> steps_of("1 + 1 = 2\n\n2 + 1 = 3\n\n", "\n\n")
        ['1 + 1 = 2', '2 + 1 = 3']
    """
    return [step.strip() for step in text.split(separator) if step.strip()]


def aggregated(steps: Sequence[float], how: str) -> float:
    """One number for a text from the probabilities of its steps: the last, the least, their product or their mean.

    Args:
        steps: The probability of each step, one at least.
        how: "last", "min", "prod" (which grows smaller with every step) or "mean".

    Example:
        >>> from counterpoint.rankers import aggregated
        >>> [round(aggregated([0.9, 0.8, 0.95], how), 4) for how in ("last", "min", "prod", "mean")]
        [0.95, 0.8, 0.684, 0.8833]
    """
    if how == "last":
        return steps[-1]
    return min(steps) if how == "min" else math.prod(steps) if how == "prod" else math.fsum(steps) / len(steps)


def shepherd(tokenizer: PreTrainedTokenizerBase, prefix: str, steps: Sequence[str], separator: str) -> Steps:
    """Math-Shepherd: the question and the text, a tag after each step, where the step is judged."""
    text = f"{prefix} " + "\n".join(step + SHEPHERD_TAG for step in steps)
    ids = encode_prompt(tokenizer, text)
    return Steps(tuple(ids), tagged(ids, tokenizer(SHEPHERD_TAG, add_special_tokens=False)["input_ids"][-1], len(steps)))


def qwen(tokenizer: PreTrainedTokenizerBase, prefix: str, steps: Sequence[str], separator: str) -> Steps:
    """Qwen2.5-Math-PRM: a chat whose answer has a tag after each step, where the step is judged."""
    messages = [
        {"role": "system", "content": QWEN_SYSTEM},
        {"role": "user", "content": prefix},
        {"role": "assistant", "content": "".join(step + QWEN_TAG for step in steps)},
    ]
    ids = rendered(tokenizer, messages, ask=False)
    return Steps(tuple(ids), tagged(ids, tokenizer(QWEN_TAG, add_special_tokens=False)["input_ids"][-1], len(steps)))


def chat(tokenizer: PreTrainedTokenizerBase, prefix: str, steps: Sequence[str], separator: str) -> Steps:
    """RLHFlow: a chat whose user writes the steps and whose assistant says "+" to each; it is judged where the "+" is chosen.

    Raises:
        ValueError: For a chat template that writes earlier turns otherwise than the last.
    """
    messages: list[dict[str, str]] = []
    positions = []
    for number, step in enumerate(steps):
        messages.append({"role": "user", "content": step if number else f"{prefix} {step}"})
        asked = rendered(tokenizer, messages, ask=True)
        positions.append(len(asked) - 1)
        messages.append({"role": "assistant", "content": "+"})
    ids = rendered(tokenizer, messages, ask=False)
    if ids[: len(asked)] != asked:
        raise ValueError("format='chat': the chat template does not go on after its generation prompt as it writes a whole chat")
    return Steps(tuple(asked), tuple(positions))


def token_classification(tokenizer: PreTrainedTokenizerBase, prefix: str, steps: Sequence[str], separator: str) -> Steps:
    """The format of trl's trainer: the tokens of each step and of the separator by themselves, judged at its last one."""
    ids, positions = encode_prompt(tokenizer, prefix), []
    after = tokenizer(separator, add_special_tokens=False)["input_ids"]
    for step in steps:
        ids += [*tokenizer(step, add_special_tokens=False)["input_ids"], *after]
        positions.append(len(ids) - 1)
    return Steps(tuple(ids), tuple(positions))


READERS: dict[str, Reader] = {
    "shepherd": shepherd,
    "chat": chat,
    "qwen": qwen,
    "token_classification": token_classification,
}
"""The formats by name."""


def rendered(tokenizer: Any, messages: Sequence[Any], *, ask: bool) -> list[int]:
    """The tokens of a chat, up to where the assistant would answer if it is asked."""
    text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=ask)
    return encode_prompt(tokenizer, str(text), from_template=True)


def tagged(ids: Sequence[int], tag: int, steps: int) -> tuple[int, ...]:
    """Where the last tags are, as many as there are steps; the prefix may have written some of its own."""
    places = [place for place, token in enumerate(ids) if token == tag]
    return tuple(places[len(places) - steps :])
