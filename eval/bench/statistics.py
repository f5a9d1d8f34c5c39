"""Figures of a benchmark with what is known of their error: a decoder's, and how it differs from another on the same prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from counterpoint.eval.bench.metrics import Column
from counterpoint.eval.bench.scores import Cell
from counterpoint.eval.metrics.resampling import bootstrap, bootstrap_p_value, interval, metric_of, p_value, swapped
from counterpoint.eval.metrics.significance import LEVEL, holm, standard_error

CONFIDENCE = 0.95
RESAMPLES = 4999
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
        figure["left_out"] = sum(int((terms == 0).all(dim=-1).sum()) for terms in cell.terms.values())
    elif cell.intervals:  # of seeds that share their prompts, so that the mean is hardly surer than one
        figure["interval"] = [fmean(ends) for ends in zip(*cell.intervals, strict=True)]
    return figure | ({"details": cell.details} if cell.details else {})


def difference(first: Cell, second: Cell, column: Column) -> Figure:
    """How ``second`` differs from ``first``: by how much, between which bounds, and whether more than chance would have it."""
    pair = paired(first, second)
    if column.combine is None or pair is None:
        return {}
    one, other = pair
    before, after = metric_of(one, column.combine), metric_of(other, column.combine)
    if not math.isfinite(before) or not math.isfinite(after):
        return {}
    drawn_before, drawn_after = bootstrap(torch.stack(pair), column.combine, resamples=RESAMPLES).unbind(dim=1)
    swapped_before, swapped_after = swapped(one, other, column.combine, resamples=PERMUTATIONS)
    return {
        "difference": after - before,
        "difference_interval": interval(drawn_after - drawn_before, CONFIDENCE),
        "p": p_value(after - before, swapped_after - swapped_before),
    }


def farther(near: Cell, far: Cell, human: Cell, column: Column) -> float | None:
    """P-value of |far - human| = |near - human|, by a bootstrap over the prompts that all three have; None if it is untestable.

    The human texts are drawn anew with the prompts, since their figure is an estimate too. Exchanging the two decoders' texts, as
    :func:`difference` does, would test that they write alike, which two that err on opposite sides do not.
    """
    found = paired(near, far, human)
    if column.combine is None or found is None:
        return None
    texts = torch.stack(found)
    observed = distance(column.combine(texts.sum(dim=-2)).mean(dim=-1))
    if not bool(observed.isfinite()):
        return None
    drawn = distance(bootstrap(texts, column.combine, resamples=RESAMPLES))
    return float(bootstrap_p_value(observed, drawn, prompts=texts.shape[-2]))


def distance(values: Float64[Tensor, "*draws three"]) -> Float64[Tensor, "*draws"]:
    """How much farther from the third the second value is than the first: |far - human| - |near - human|."""
    near, far, human = values.unbind(dim=-1)
    return (far - human).abs() - (near - human).abs()


def mark_best(cells: Mapping[str, Cell], figures: Mapping[str, Figure], column: Column, human: Cell | None) -> None:
    """Add to the decoders' figures of a column whether they are the best, or not to be told from it by a test.

    The best has the largest or smallest value, or the one nearest to the human texts'. For every other decoder, ``p_best`` is the
    p-value of the two being equally good, and ``p_best_adjusted`` that with Holm's adjustment over the column. Without any test
    nothing is marked.
    """
    values = {label: figure["value"] for label, figure in figures.items() if figure["value"] is not None}
    target = 0.0
    if column.better == "human":
        if human is None or not all(map(math.isfinite, human.values.values())) or not human.values:
            return
        target = fmean(human.values.values())
    badness: Callable[[float], float] = {
        "human": lambda value: abs(value - target),
        "higher": lambda value: -value,
        "lower": lambda value: value,
    }[column.better]
    best = min(values, key=lambda label: badness(values[label]), default=None)
    if best is None:
        return
    tested: dict[str, float] = {}
    for label in [label for label in values if label != best]:
        if column.better == "human" and human is not None:
            p = farther(cells[best], cells[label], human, column)
        else:
            p = difference(cells[best], cells[label], column).get("p")
        if p is not None:
            tested[label] = p
    for label, adjusted in zip(tested, holm(list(tested.values())), strict=True):
        figures[label] |= {"p_best": tested[label], "p_best_adjusted": adjusted, "best": adjusted > LEVEL}
    if tested:
        figures[best]["best"] = True


def paired(*cells: Cell) -> tuple[Tensor, ...] | None:
    """The texts of all cells for prompts and seeds that all have; what has one seed stands beside every seed of the others."""
    if not all(cell.terms for cell in cells):
        return None
    prompts = sorted(set.intersection(*(set(each) for cell in cells for each in cell.indices.values())))
    several = [cell.terms.keys() for cell in cells if len(cell.terms) > 1]
    seeds = sorted(set.intersection(*map(set, several))) if several else [next(iter(cells[0].terms))]
    if not prompts or not seeds:
        return None
    return tuple(cell.texts(seeds if len(cell.terms) > 1 else [*cell.terms] * len(seeds), prompts) for cell in cells)


def adjust(figures: Sequence[Figure]) -> int:
    """Add Holm's adjustment over all tests of a table to its figures, and say how many tests there are."""
    tested = [figure for figure in figures if "p" in figure]
    for figure, adjusted in zip(tested, holm([figure["p"] for figure in tested]), strict=True):
        figure["p_adjusted"] = adjusted
    return len(tested)
