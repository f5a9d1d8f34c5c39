"""Figures of a benchmark with what is known of their error: a decoder's, and how it differs from another on the same prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from torch import Tensor

from counterpoint.eval.bench.metrics import Column
from counterpoint.eval.bench.scores import Cell
from counterpoint.eval.metrics.resampling import bootstrap, holm, interval, metric_of, p_value, standard_error, swapped

CONFIDENCE = 0.95
RESAMPLES = 2000
PERMUTATIONS = 9999
UNDEFINED = "undefined for these texts, which are too short or too few"

Figure = dict[str, Any]


def describe(cell: Cell, column: Column) -> Figure:
    """A decoder's figure: the mean over seeds, its standard error over them, and an interval over prompts."""
    if cell.reason is not None:
        return {"value": None, "reason": cell.reason}
    if not all(map(math.isfinite, cell.values.values())):
        return {"value": None, "reason": UNDEFINED}
    values = list(cell.values.values())
    figure: Figure = {"value": fmean(values), "by_seed": {str(seed): value for seed, value in cell.values.items()}}
    figure["standard_error"] = standard_error(values) if len(values) > 1 else cell.standard_error
    if column.combine is not None and cell.terms:
        prompts = sorted({index for indices in cell.indices.values() for index in indices})
        drawn = bootstrap(cell.texts(list(cell.terms), prompts), column.combine, resamples=RESAMPLES)
        figure["interval"] = interval(drawn, CONFIDENCE)
    return figure | ({"details": cell.details} if cell.details else {})


def difference(first: Cell, second: Cell, column: Column, human: float | None) -> Figure:
    """How ``second`` differs from ``first``: by how much, between which bounds, and whether more than chance would have it.

    ``p`` is that of the difference, ``p_human`` that of the difference between their distances to the ``human`` value.
    """
    pair = paired(first, second)
    if column.combine is None or pair is None:
        return {}
    one, other = (bootstrap(texts, column.combine, resamples=RESAMPLES) for texts in pair)
    before, after = (metric_of(texts, column.combine) for texts in pair)
    if not math.isfinite(before) or not math.isfinite(after):
        return {}
    swapped_before, swapped_after = swapped(*pair, column.combine, resamples=PERMUTATIONS)
    figure = {
        "difference": after - before,
        "difference_interval": interval(other - one, CONFIDENCE),
        "p": p_value(after - before, swapped_after - swapped_before),
    }
    if human is not None:
        nearer = abs(after - human) - abs(before - human)
        figure["p_human"] = p_value(nearer, (swapped_after - human).abs() - (swapped_before - human).abs())
    return figure


def paired(first: Cell, second: Cell) -> tuple[Tensor, Tensor] | None:
    """The texts of both for prompts and seeds that both have; what has one seed stands beside every seed of the other."""
    if not first.terms or not second.terms:
        return None
    prompts = sorted(set.intersection(*(set(each) for cell in (first, second) for each in cell.indices.values())))
    seeds = sorted(first.terms.keys() & second.terms.keys())
    if len(first.terms) == 1 or len(second.terms) == 1:
        pairs = [(one, other) for one in sorted(first.terms) for other in sorted(second.terms)]
    else:
        pairs = [(seed, seed) for seed in seeds]
    if not prompts or not pairs:
        return None
    return first.texts([one for one, _ in pairs], prompts), second.texts([other for _, other in pairs], prompts)


def adjust(figures: Sequence[Figure]) -> int:
    """Add Holm's adjustment over all tests of a table to its figures, and say how many tests there are."""
    for name in ("p", "p_human"):
        tested = [figure for figure in figures if name in figure]
        for figure, adjusted in zip(tested, holm([figure[name] for figure in tested]), strict=True):
            figure[f"{name}_adjusted"] = adjusted
    return sum("p" in figure for figure in figures)
