"""What two right computations of the same thing may differ by, on any machine, and the choices that such a difference can turn.

A sum of n terms in floating point is off by about eps * sqrt(n) * (the largest term), in an order that each CPU, number of threads
and shape chooses for itself. So scores are compared within that, and tokens are equal unless the reference itself found two of them
so near each other that rounding decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

_largest: list[float] = [0.0]
"""The largest term that a reference has added up."""


def noted(*terms: Tensor) -> None:
    """A reference has added up these terms, whatever their sum became: large ones that cancel leave their rounding behind."""
    _largest[0] = max(_largest[0], *(float(term[term.isfinite()].abs().max()) for term in terms))


def rounding(dtype: torch.dtype, terms: int, largest: float) -> float:
    """What a sum of ``terms`` terms, in any order, may be off by."""
    return float(torch.finfo(dtype).eps * terms**0.5 * largest)


def depth(model: PreTrainedModel) -> int:
    """Terms in the longest chain of sums of a forward: the width, layer after layer."""
    config = model.config.get_text_config(decoder=True)
    return int(config.hidden_size * config.num_hidden_layers)


@dataclass
class Watch:
    """The terms of a reference and, step by step, how near its choices were to being others."""

    largest: float = 0.0
    gaps: list[float] = field(default_factory=list)
    """For each step the least difference, in logarithms of probabilities, between a token that was taken and the next."""

    def step(self) -> None:
        """The scores of a further step are given; choices that follow are among them."""
        self.gaps.append(float("inf"))

    def chose(self, values: Tensor, count: int) -> None:
        """The largest ``count`` of each row were taken, in order."""
        if self.gaps and values.ndim and values.shape[-1] > count:
            best = values.double().topk(count + 1, dim=-1).values
            gaps = (best[..., :-1] - best[..., 1:]).nan_to_num(float("inf"))
            self.gaps[-1] = min(self.gaps[-1], float(gaps.min()))


@contextmanager
def watching() -> Iterator[Watch]:
    """Note the terms that references add up, and the gaps between what ``generate`` takes and what it leaves.

    ``torch.multinomial`` takes the largest of p / q, q exponential; it is replaced by that, with the same random numbers.
    """
    watch, argmax, topk = Watch(), torch.argmax, torch.topk
    before, _largest[0] = _largest[0], 0.0

    def watched_argmax(values: Tensor, *arguments: Any, **options: Any) -> Tensor:
        watch.chose(values, 1)
        return argmax(values, *arguments, **options)

    def watched_topk(values: Tensor, k: int, *arguments: Any, **options: Any) -> Any:
        watch.chose(values, k)
        return topk(values, k, *arguments, **options)

    def watched_multinomial(probabilities: Tensor, num_samples: int, **options: Any) -> Tensor:
        race = probabilities / torch.empty_like(probabilities).exponential_(1, **options)
        watch.chose(race.log(), num_samples)
        return topk(race, num_samples).indices

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "argmax", watched_argmax)
        patch.setattr(torch, "topk", watched_topk)
        patch.setattr(torch, "multinomial", watched_multinomial)
        try:
            yield watch
        finally:
            watch.largest, _largest[0] = _largest[0], before
