"""How often a ranker picks the true continuation among in-book ones and among generated ones."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from counterpoint.rankers.base import Ranker
from counterpoint.rankers.training.passages import Passage

PREFIXES = 32
"""Prefixes that a ranker gets at once."""


@dataclass(frozen=True)
class ContinuationChoice:
    """A prefix, its true continuation, and others to tell it from."""

    prefix: str
    continuation: str
    in_book: tuple[str, ...]
    """Continuations of other prefixes of the same document."""
    generated: tuple[str, ...]
    """Continuations that a model wrote for this prefix."""


def choices(
    found: Sequence[Passage], chosen: Sequence[Passage], generated: Sequence[Sequence[str]], count: int, both: bool, seed: int = 0
) -> list[ContinuationChoice]:
    """A choice from among ``count`` wrong continuations of each kind, for every chosen passage that has so many.

    Args:
        found: All passages of the documents: what in-book continuations are drawn from.
        chosen: The passages that make a choice.
        generated: The generated continuations of each chosen passage.
        count: Number of wrong continuations of each kind.
        both: Whether there are to be generated ones, or in-book ones alone.
        seed: Seed by which in-book continuations are drawn.
    """
    draw = random.Random(seed)  # noqa: S311 - no secret
    of_document: dict[str, list[str]] = {}
    for passage in found:
        of_document.setdefault(passage.document, []).append(passage.continuation)
    made = []
    for passage, written in zip(chosen, generated, strict=True):
        others = [text for text in of_document[passage.document] if text != passage.continuation]
        if len(others) >= count and (not both or len(written) >= count):
            in_book = tuple(draw.sample(others, count))
            made.append(ContinuationChoice(passage.prefix, passage.continuation, in_book, tuple(written[:count])))
    return made


def picked(ranker: Ranker, chosen: Sequence[ContinuationChoice], kind: str) -> list[float]:
    """For every choice 1 if the ranker scores the true continuation highest, 0 if not; 1/n if n candidates tie for the highest.

    The mean is the accuracy; a ranker that knows nothing has 1 / candidates.

    Args:
        ranker: The ranker.
        chosen: The choices.
        kind: "in_book" or "generated": what to tell the true continuation from.

    Example:
        >>> from counterpoint.rankers import OverlapRanker
        >>> from counterpoint.rankers.training.continuation_choice import ContinuationChoice, picked
        >>> choice = ContinuationChoice("The white whale rose.", " The whale sank.", (" It was late.",), (" The whale rose.",))
        >>> picked(OverlapRanker(), [choice], "in_book"), picked(OverlapRanker(), [choice], "generated")
        ([1.0], [0.0])
    """
    outcomes = []
    for first in range(0, len(chosen), PREFIXES):
        some = chosen[first : first + PREFIXES]
        candidates = [[choice.continuation, *getattr(choice, kind)] for choice in some]
        for scores in ranker.score([choice.prefix for choice in some], candidates):
            best = scores == scores.max()
            outcomes.append(float(best[0]) / int(best.sum()))
    return outcomes


def write_choices(chosen: Sequence[ContinuationChoice], path: Path) -> None:
    """Write the choices as JSON Lines."""
    path.write_text("".join(json.dumps(asdict(choice), ensure_ascii=False) + "\n" for choice in chosen), encoding="utf-8")


def read_choices(path: Path) -> list[ContinuationChoice]:
    """Read what :func:`write_choices` wrote."""
    records = map(json.loads, path.read_text(encoding="utf-8").split("\n")[:-1])
    return [
        ContinuationChoice(record["prefix"], record["continuation"], tuple(record["in_book"]), tuple(record["generated"]))
        for record in records
    ]
