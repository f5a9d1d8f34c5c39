"""Metrics of all decoders of a benchmark, of human references beside them, and of speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from counterpoint.eval.bench.metrics import Column, Detailed, Group, Metric
from counterpoint.eval.bench.records import HUMAN, Record
from counterpoint.eval.metrics.significance import standard_error
from counterpoint.rankers.ngrams import word_spans, words

if TYPE_CHECKING:
    from counterpoint.eval.bench.metric_models import MetricModels

ELSEWHERE = "not measured here"
"""Why texts that were made elsewhere have no speed."""

SPEED: Mapping[str, Column] = {
    "tokens_per_second": Column("tokens/s", "higher", None, 1),
    "relative_speed": Column("speed", "higher", None, 2, "x", detail=False),
    "peak_memory": Column("memory", "lower", None, 0, " MiB"),
}
"""Columns of the metric speed."""


@dataclass(frozen=True)
class Row:
    """A decoder and its texts, by seed."""

    label: str
    decoder: str
    parameters: Mapping[str, Any]
    groups: Mapping[int, Group]


@dataclass
class Cell:
    """A column's figures for one row: by seed, what each text adds to them where they are sums, or why there are none."""

    values: dict[int, float] = field(default_factory=dict)
    terms: dict[int, Tensor] = field(default_factory=dict)
    indices: dict[int, Sequence[int]] = field(default_factory=dict)
    reason: str | None = None
    standard_error: float | None = None
    """Standard error of a figure from one seed, where it is known otherwise."""
    intervals: list[tuple[float, float]] = field(default_factory=list)
    """The interval of each seed's figure, where that is known otherwise."""
    details: list[Any] = field(default_factory=list)

    def texts(self, seeds: Sequence[int], prompts: Sequence[int]) -> Tensor:
        """The terms ``[seeds, prompts, terms]``, zeros where a prompt has no text."""
        (width,) = {each.shape[1] for each in self.terms.values()}
        found = torch.zeros(len(seeds), len(prompts), width, dtype=torch.float64)
        places = {prompt: place for place, prompt in enumerate(prompts)}
        for row, seed in enumerate(seeds):
            own = [(at, places[index]) for at, index in enumerate(self.indices[seed]) if index in places]
            found[row, [place for _, place in own]] = self.terms[seed][[at for at, _ in own]]
        return found


def rows_of(records: Sequence[Record]) -> list[Row]:
    """The decoders of a benchmark's generations, in their order."""
    grouped: dict[str, dict[int, list[Record]]] = {}
    for record in records:
        grouped.setdefault(record["label"], {}).setdefault(record["seed"], []).append(record)
    rows = []
    for label, seeds in grouped.items():
        first = next(iter(seeds.values()))[0]
        groups = {seed: group_of(sorted(found, key=lambda record: record["index"])) for seed, found in seeds.items()}
        rows.append(Row(label, first["decoder"], first["parameters"], groups))
    return rows


def group_of(records: Sequence[Record]) -> Group:
    """The texts of records of one decoder and seed."""
    names = ("index", "prompt", "text", "reference")
    return Group(*([record[name] for record in records] for name in names))


def human_row(records: Sequence[Record]) -> Row | None:
    """The references as if a decoder had written them, if there are any.

    Repetition grows with length, so each is cut after as many words as the longest text that a decoder wrote for its prompt.
    """
    longest: dict[int, int] = {}
    prompts: dict[int, tuple[str, str]] = {}
    for record in records:
        if record["reference"] is not None:
            longest[record["index"]] = max(longest.get(record["index"], 0), len(words(record["text"])))
            prompts[record["index"]] = record["prompt"], record["reference"]
    if not prompts:
        return None
    indices = sorted(prompts)
    texts = [first_words(prompts[index][1], longest[index]) for index in indices]
    return Row(HUMAN, HUMAN, {}, {0: Group(indices, [prompts[index][0] for index in indices], texts, [None] * len(indices))})


def first_words(text: str, count: int) -> str:
    """The text up to the end of its word number ``count``.

    Example:
        >>> from counterpoint.eval.bench.scores import first_words
        >>> first_words(" one  two three", 2)
        ' one  two'
    """
    ends = [end for _, end in word_spans(text)][:count]
    return text[: ends[-1]] if ends else ""


def measure(metric: Metric, row: Row, models: MetricModels) -> dict[str, Cell]:
    """A metric's columns for a decoder; a reason takes the place of figures that cannot be computed."""
    cells = {name: Cell() for name in metric.columns}
    for seed, group in row.groups.items():
        try:
            measured = metric.measure(group, models)
        except (ValueError, ImportError, OSError) as error:
            return {name: Cell(reason=" ".join(str(error).split())) for name in metric.columns}
        for name, cell in cells.items():
            add(cell, metric.columns[name].combine, seed, group.indices, measured[name])
    return cells


def add(
    cell: Cell, combine: Callable[[Tensor], Tensor] | None, seed: int, indices: Sequence[int], found: Tensor | float | Detailed
) -> None:
    """A seed's figure, and its terms if it is made of some."""
    if isinstance(found, Detailed):
        cell.details.append(dict(found.detail))
        cell.standard_error = found.standard_error
        cell.intervals += [] if found.interval is None else [found.interval]
        found = found.value
    if combine is None or isinstance(found, float):
        cell.values[seed] = float(found)
        return
    cell.terms[seed], cell.indices[seed] = torch.as_tensor(found), indices
    cell.values[seed] = float(combine(cell.terms[seed].sum(dim=0)))


def measure_speed(label: str, records: Sequence[Record], here: bool = True) -> dict[str, Cell]:
    """What was measured while a decoder ran, if it ran here."""
    found = next((record for record in records if record["label"] == label), None)
    if found is None:
        return {name: Cell(reason="not timed" if here else ELSEWHERE) for name in SPEED}
    memory = found["peak_memory_bytes"]
    figures = {"relative_speed": found["relative"], "peak_memory": None if memory is None else memory / 2**20}
    return {
        name: Cell(reason="the server does not tell" if "concurrency" in found else "not known on this device")
        if value is None
        else Cell({0: value})
        for name, value in figures.items()
    } | {"tokens_per_second": Cell({0: found["tokens_per_second"]}, standard_error=standard_error(found["repeats"]))}
