"""What the laws of :mod:`counterpoint.decoders.testing` watch a decoder with, and how they say that one is broken."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from counterpoint.decoders.forwards.ragged import padded

Processor = Callable[[Tensor, Tensor], Tensor]

VOCABULARY = 96
LENGTHS = (9, 6, 4)
TOLERANCE = 2e-4
"""How far scores in float32 may lie apart, absolutely and relatively; -inf is close to -inf alone."""


@dataclass(frozen=True)
class Generated:
    """The new tokens of every row, and the scores and logits of each step."""

    tokens: list[list[int]]
    scores: Float[Tensor, "steps rows vocabulary"]
    logits: Float[Tensor, "steps rows vocabulary"]

    def row(self, number: int) -> Generated:
        """One of the rows, with the scores of all its beams."""
        beams = self.scores.shape[1] // len(self.tokens)
        own = slice(number * beams, (number + 1) * beams)
        return Generated([self.tokens[number]], self.scores[:, own], self.logits[:, own])


class Recorder:
    """A logits processor that changes nothing and remembers what it was given."""

    def __init__(self) -> None:
        self.scores: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, input_ids: Int[Tensor, "rows length"], scores: Float[Tensor, "rows vocabulary"]) -> Tensor:
        """The scores as they are."""
        self.scores |= zip(map(tuple, input_ids.tolist()), scores.float().clone(), strict=True)
        return scores

    def after(self, ids: Sequence[int]) -> Float[Tensor, "vocabulary"]:
        """The scores of the token after these."""
        return self.scores[tuple(ids)]


class Forced:
    """A logits processor that lets a given text be generated, whatever the scores are."""

    def __init__(self, text: Sequence[int]) -> None:
        self.text = text

    def __call__(self, input_ids: Int[Tensor, "rows length"], scores: Float[Tensor, "rows vocabulary"]) -> Tensor:
        """A score for the text's next token alone."""
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self.text[input_ids.shape[1]]] = 0.0
        return forced


class Watched:
    """A logits processor, and a check after every call that it leaves what it was given as it was."""

    def __init__(self, processor: Processor) -> None:
        self.processor = processor

    def __call__(self, input_ids: Int[Tensor, "rows length"], scores: Float[Tensor, "rows vocabulary"]) -> Tensor:
        """What the processor gives."""
        given = input_ids.clone(), scores.clone()
        found = self.processor(input_ids, scores)
        same = torch.equal(input_ids, given[0]) and torch.equal(scores, given[1])
        check(same, f"{type(self.processor).__name__} changes input_ids or scores in place: give back a new tensor")
        return found


def prompts() -> list[list[int]]:
    """Prompts of different lengths."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for length in LENGTHS]


def left_padded(rows: Sequence[Sequence[int]], padding: int = 0) -> tuple[Int[Tensor, "rows width"], Int[Tensor, "rows width"]]:
    """The rows as ids with ``padding`` more tokens than needed on the left, and their mask."""
    ids, mask = (nn.functional.pad(each, (padding, 0)) for each in padded(rows, side="left"))
    return ids, mask


def in_step(*calls: Callable[[Callable[[], None]], Generated]) -> list[Generated]:
    """What calls give that run in threads of their own and wait for each other at every token."""
    barrier = threading.Barrier(len(calls), timeout=60)
    found: dict[int, Generated] = {}
    errors: list[Exception] = []

    def run(number: int) -> None:
        try:
            found[number] = calls[number](lambda: [barrier.wait()].clear())
        except Exception as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise AssertionError(f"an object that serves two calls at a time fails: {errors[0]!r}") from errors[0]
    return [found[number] for number in range(len(calls))]


def models_of(decoder: object) -> list[PreTrainedModel]:
    """Every model that can be reached from ``decoder`` along attributes, items of collections and arguments of partials.

    A model that is a part of another of them is not counted.
    """
    found: list[PreTrainedModel] = []
    seen: list[object] = []
    rest = [decoder]
    while rest:
        each = rest.pop()
        if isinstance(each, Tensor | nn.Module | type) or any(each is other for other in seen):
            continue
        seen.append(each)
        held = [*each.values()] if isinstance(each, Mapping) else [*each] if isinstance(each, list | tuple | set) else []
        held += [*vars(each).values()] if hasattr(each, "__dict__") else []
        found += [one for one in held if isinstance(one, PreTrainedModel) and not any(one is other for other in found)]
        rest += held
    parts = [part for each in found for part in each.modules() if part is not each]
    return [each for each in found if not any(each is part for part in parts)]


def change_weights(model: nn.Module) -> None:
    """Make the weights others, in place and without a trace in their identity or version."""
    generator = torch.Generator().manual_seed(5)
    with torch.inference_mode():
        for weight in model.parameters():
            weight.data.add_(0.1 * weight.std() * torch.randn(weight.shape, generator=generator))


def check(holds: bool, message: str) -> None:
    """Raise an ``AssertionError`` with the message where a law is broken."""
    if not holds:
        raise AssertionError(message)


def close(found: Float[Tensor, "*shape"], expected: Float[Tensor, "*shape"]) -> bool:
    """Whether scores are equal but for rounding."""
    return torch.allclose(found, expected, atol=TOLERANCE, rtol=TOLERANCE)


def check_same(found: Generated, expected: Generated, message: str) -> None:
    """Texts and the scores of every step are equal."""
    check(found.tokens == expected.tokens, f"{message}: {found.tokens} instead of {expected.tokens}")
    for step, (own, other) in enumerate(zip(found.scores, expected.scores, strict=True)):
        check(close(own, other), f"{message}: the scores of step {step} differ")


def check_refused(call: Callable[[], object], what: str) -> None:
    """What the decoder says it refuses raises a ``ValueError``."""
    try:
        call()
    except ValueError:
        return
    raise AssertionError(f"{what}: said to be refused, yet it runs")
