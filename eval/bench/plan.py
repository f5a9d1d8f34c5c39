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
from counterpoint.eval.decoder_specs import DecoderSpec
from counterpoint.eval.embedded import AMATEUR, EXPERT
from counterpoint.eval.journal import key_of
from counterpoint.eval.revisions import revision
from counterpoint.rankers import SMALL

MODELS = ("amateur", "amateur_adapter", "path")
"""Parameters of decoders that name a model."""


@dataclass(frozen=True)
class Task:
    """A decoder, the seeds it is run with, and a name for all that its texts depend on besides prompt and seed."""

    choice: DecoderSpec
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


def task_of(choice: DecoderSpec, seeds: int, model: str, run: Mapping[str, Any]) -> Task:
    """A decoder's task in a run of ``model``; one that draws no random numbers needs one seed only."""
    models = {name: revision(value) for name in MODELS if (value := choice.values.get(name)) and isinstance(value, str)}
    if choice.values.get("amateur") == "" and model == str(EXPERT):
        models["amateur"] = revision(str(AMATEUR))
    if choice.values.get("ranker") == "small":
        models["ranker"] = revision(str(SMALL))
    key = key_of(run, choice.decoder.name, dict(choice.values), models)
    return Task(choice, seeds if choice.decoder.sampling else 1, key)


def batches(tasks: Sequence[Task], passages: Sequence[Passage], batch_size: int) -> list[Batch]:
    """All that is to be generated, decoder by decoder, prompts of like length together.

    A ranked decoder takes a prompt at a time: its candidates are a batch, and prompts side by side would share random numbers.
    """
    ordered = by_length(passages)

    def groups(size: int) -> list[tuple[Passage, ...]]:
        return [tuple(ordered[start : start + size]) for start in range(0, len(ordered), size)]

    return [
        Batch(task, seed, group, tuple(key_of(task.key, seed, vars(passage)) for passage in group))
        for task in tasks
        for seed in range(task.seeds)
        for group in groups(1 if task.choice.decoder.ranked else batch_size)
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
                "decoder": str(task.choice),
                "texts": len(keys),
                "done": sum(key in done for key in keys),
                "tokens": sum(len(batch.passages) for batch in left) * max_new_tokens,
                "forwards": len(left) * max_new_tokens,
                "rows": max((len(batch.passages) for batch in left), default=0) * rows_of(task.choice),
            }
        )
    return rows


def rows_of(choice: DecoderSpec) -> int:
    """How many tokens a text has in a forward: beams, candidates or samples."""
    if choice.decoder.ranked:
        return int(choice.values.get("beams", 1)) * int(choice.values["samples"])
    if choice.decoder.contrastive:
        top_k = choice.values.get("top_k", 15)  # adaptive contrastive search's most
        return int(top_k)
    return int(choice.values.get("num_beams", 1))
