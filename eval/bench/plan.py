"""What a benchmark generates: batches in a fixed order, and a name for every text in them.

The batches depend on the prompts and the batch size, never on what is done already or on how many processes there are: a batch that
a kill interrupted is generated again as it was, and processes take whole batches in turn. So the texts are the same, to the bit,
however often a run was stopped and however many processes shared it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from counterpoint.eval.bench.passages import Passage, by_length
from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.journal import key_of
from counterpoint.eval.revisions import models_of


@dataclass(frozen=True)
class Task:
    """A decoder, the seeds it is run with, and a name for all that its texts depend on besides prompt and seed."""

    spec: DecoderSpec
    seeds: int
    key: str


@dataclass(frozen=True)
class Batch:
    """Prompts that a decoder continues together."""

    task: Task
    seed: int
    passages: tuple[Passage, ...]
    keys: tuple[str, ...]
    """For every prompt, the name of all that its text depends on."""


def task_of(spec: DecoderSpec, seeds: int, model: str, run: Mapping[str, Any], *, served: bool = False) -> Task:
    """A decoder's task in a run of ``model``; one that draws no random numbers needs one seed only."""
    key = key_of(run, spec.name, spec.plain(), models_of(spec, model, served=served), spec.origins())
    return Task(spec, seeds if spec.sampling else 1, key)


def batches(tasks: Sequence[Task], passages: Sequence[Passage], batch_size: int) -> list[Batch]:
    """All that is to be generated, decoder by decoder, prompts of like length together.

    A ranked decoder takes a prompt at a time: its candidates are a batch, and prompts side by side would share random numbers.
    """
    ordered = by_length(passages)
    seen = [passage for passage in ordered if passage.request and passage.request.inputs]  # images go with one prompt
    texts = [passage for passage in ordered if not (passage.request and passage.request.inputs)]

    def groups(size: int) -> list[tuple[Passage, ...]]:
        together = [tuple(texts[start : start + size]) for start in range(0, len(texts), size)]
        return [*together, *((passage,) for passage in seen)]

    return [
        Batch(task, seed, group, tuple(key_of(task.key, seed, passage.facts()) for passage in group))
        for task in tasks
        for seed in range(task.seeds)
        for group in groups(batch_size if task.spec.row.batched else 1)
    ]


def pending(plan: Sequence[Batch], done: Container[str]) -> list[Batch]:
    """The batches that are not done as a whole."""
    return [batch for batch in plan if not all(key in done for key in batch.keys)]


def costs(tasks: Sequence[Task], plan: Sequence[Batch], done: Container[str], max_new_tokens: int) -> list[dict[str, Any]]:
    """For every decoder how many texts, tokens and forwards of the model it takes at most, and how many texts are there."""
    rows = []
    for task in tasks:
        own = [batch for batch in plan if batch.task is task]
        keys = [key for batch in own for key in batch.keys]
        left = pending(own, done)
        rows.append(
            {
                "decoder": str(task.spec),
                "texts": len(keys),
                "done": sum(key in done for key in keys),
                "tokens": sum(len(batch.passages) for batch in left) * max_new_tokens,
                "forwards": len(left) * max_new_tokens,
                "rows": max((len(batch.passages) for batch in left), default=0) * rows_of(task.spec),
            }
        )
    return rows


def rows_of(spec: DecoderSpec) -> int:
    """How many tokens a text has in a forward: beams, candidates or samples."""
    values: Mapping[str, Any] = spec.values
    rows = spec.row.rows if isinstance(spec.row.rows, int) else values[spec.row.rows]
    return int(rows) * int(values.get("beams", 1))
