"""How sure a figure is: bootstrap intervals over prompts, and permutation tests of one decoder against another.

A metric is here a function of sums over texts: a mean is sum(v_i) / n, rep-n is 1 - sum(distinct_i) / sum(total_i), diversity a
product of three of those. Texts are ``[seeds, prompts, terms]``, a text that is missing is a row of zeros, and what is drawn anew
are whole prompts, with their texts under all seeds: prompts are independent of each other, the texts of one prompt are not. Since
a sum over drawn texts is a matrix product, thousands of drawings take no longer than computing the metric once from the texts.

Efron and Tibshirani, *An Introduction to the Bootstrap* (1993). For generated text see Dror et al., *The Hitchhiker's Guide to
Testing Statistical Significance in NLP* (ACL 2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

Combine = Callable[[Any], Any]
"""A metric of sums over texts: ``[..., terms]`` to ``[...]``."""
AT_ONCE = 2**22
"""Numbers of a matrix of drawings that are held at a time."""


def metric_of(texts: Float64[Tensor, "seeds prompts terms"], combine: Combine) -> float:
    """The metric itself: computed for each seed, then the mean over seeds."""
    return float(combine(texts.sum(dim=1)).mean())


def bootstrap(
    texts: Float64[Tensor, "*sets seeds prompts terms"], combine: Combine, *, resamples: int = 2000, seed: int = 0
) -> Float64[Tensor, "resamples *sets"]:
    """The metric of ``resamples`` sets of as many prompts, drawn with replacement.

    Two decoders of the same prompts get the same drawings for the same ``seed``, so that differences of the results are paired.

    Example:
        >>> import torch
        >>> from counterpoint.eval.metrics.resampling import bootstrap, interval
        >>> values = torch.tensor([[[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]]], dtype=torch.float64)  # (v, 1) for a mean
        >>> low, high = interval(bootstrap(values, lambda sums: sums[..., 0] / sums[..., 1]), 0.95)
        >>> low < 1.5 < high
        True
    """
    prompts = texts.shape[-2]

    def counts(rows: int, generator: torch.Generator) -> Tensor:
        drawn = torch.randint(prompts, (rows, prompts), generator=generator)
        return torch.zeros(rows, prompts, dtype=torch.float64).scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))

    sums = [weighted(texts, weights) for weights in drawings(counts, prompts, resamples, seed)]
    values: Tensor = combine(torch.cat(sums))
    return values.mean(dim=-1)


def interval(values: Float64[Tensor, " resamples"], confidence: float) -> tuple[float, float] | None:
    """The percentile interval of bootstrapped values, of those that are defined; None if none is."""
    defined = values[values.isfinite()]
    if not len(defined):
        return None
    low, high = defined.quantile(torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)).tolist()
    return low, high


def swapped(
    first: Float64[Tensor, "seeds prompts terms"],
    second: Float64[Tensor, "seeds prompts terms"],
    combine: Combine,
    *,
    resamples: int = 9999,
    seed: int = 0,
) -> tuple[Float64[Tensor, " resamples"], Float64[Tensor, " resamples"]]:
    """The metrics of two decoders that had been given each other's texts for every prompt with probability 1/2.

    If the two write alike, these differ by as much as the decoders themselves do; see :func:`p_value`.
    """
    difference = second - first

    def coins(rows: int, generator: torch.Generator) -> Tensor:
        return torch.randint(2, (rows, first.shape[1]), generator=generator).double()

    moved = torch.cat([weighted(difference, weights) for weights in drawings(coins, first.shape[1], resamples, seed)])
    of_first, of_second = combine(first.sum(dim=1) + moved), combine(second.sum(dim=1) - moved)
    return of_first.mean(dim=1), of_second.mean(dim=1)


def bootstrap_p_value(
    observed: Float64[Tensor, "*sets"], drawn: Float64[Tensor, "resamples *sets"], prompts: int
) -> Float64[Tensor, "*sets"]:
    """How rarely a difference is 0, by its bootstrap over prompts: the level of the widest percentile interval without 0 in it.

        p = 2 (1 + how many drawings lie on the side of 0 that the observed value does not) / (1 + how many drawings there are)

    It needs no hypothesis under which texts could be exchanged, only that prompts are independent. Drawings are spread by
    sqrt(n / (n - 1)), without which intervals of few prompts are too narrow (Hesterberg 2015, arXiv 1411.5279). Drawings that are
    not defined count for both sides.

    Example:
        >>> import torch
        >>> from counterpoint.eval.metrics.resampling import bootstrap_p_value
        >>> drawn = torch.tensor([0.5, 1.0, 2.0, -0.5, 1.0, 1.5, 0.7, 1.2, 0.9], dtype=torch.float64)
        >>> float(bootstrap_p_value(torch.tensor(1.0, dtype=torch.float64), drawn, prompts=100))
        0.4
    """
    spread = observed + (drawn - observed) * math.sqrt(prompts / max(prompts - 1, 1))
    below, above = (1 + (~beyond).sum(dim=0) for beyond in (spread > 0, spread < 0))
    return (2 * torch.minimum(below, above).double() / (1 + len(drawn))).clamp(max=1.0)


def p_value(observed: float, under_null: Float64[Tensor, " resamples"]) -> float:
    """(1 + how many values under the null are as far from 0 as the observed one) / (1 + how many there are).

    Valid at any number of drawings, and never 0 (Phipson and Smyth 2010, arXiv 1603.05766).

    Example:
        >>> import torch
        >>> from counterpoint.eval.metrics.resampling import p_value
        >>> p_value(-2.0, torch.tensor([-3.0, -1.0, 0.0, 2.0], dtype=torch.float64))
        0.6
    """
    as_far = under_null.abs() >= abs(observed) * (1 - 1e-9)  # what is equal in exact arithmetic counts as equal
    return (1 + int(as_far.sum())) / (1 + len(under_null))


def drawings(
    draw: Callable[[int, torch.Generator], Tensor], prompts: int, resamples: int, seed: int
) -> Iterator[Float64[Tensor, "rows prompts"]]:
    """Weights of the prompts, ``resamples`` rows of them, some at a time."""
    generator = torch.Generator().manual_seed(seed)
    rows = max(1, AT_ONCE // prompts)
    for begin in range(0, resamples, rows):
        yield draw(min(rows, resamples - begin), generator)


def weighted(
    texts: Float64[Tensor, "*sets seeds prompts terms"], weights: Float64[Tensor, "rows prompts"]
) -> Float64[Tensor, "rows *sets seeds terms"]:
    """Sums over prompts, each as often as its weight says."""
    return torch.einsum("rp,...pt->r...t", weights, texts)
