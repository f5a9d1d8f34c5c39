"""The kernel of each product of a few rows: the one that is fastest on this machine, measured when it is first needed.

A choice holds for a number of rows that each text has (the k candidates of a search, the exits of a layer contrast), whatever the
number of texts, so that texts are computed alike alone and in a batch. Another kernel than the plain one is taken only where it is
clearly faster on the whole, and slower neither for one text nor for several.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle
from statistics import median

import torch
from torch import Tensor

from counterpoint.decoders.kernels.policy import Policy, policy
from counterpoint.decoders.kernels.products import KERNELS, candidates, forget_packed
from counterpoint.decoders.locks import Lock

ROWS = (2, 3, 5, 10, 20, 40)
"""Numbers of rows that are measured; others are taken for the next larger one."""

SEVERAL = 8
"""Texts in a batch for which a kernel must not be slower than the plain one, or fewer that have as many rows as are measured."""

LARGE = 2**16
"""Weights of fewer elements are multiplied fast enough the usual way."""

GAIN, NOISE = 0.9, 1.05
"""Another kernel is taken where it needs less than the first share of the plain one's time, by the mean of one text and several,
and for neither more than the second.
"""

ROUNDS, SECONDS = 7, 0.006
"""At most so many rounds, and none but the first three begins after so many seconds of products."""

AT_ONCE = 8
"""Weights that take turns, as the layers of a model do."""

APART = 2**26
"""Bytes that are read before a weight's turn comes round again: all others are, in a step of a model, and few caches hold them."""


@dataclass(frozen=True)
class Product:
    """A product of a few rows, as far as its speed goes."""

    width: int
    out: int
    dtype: torch.dtype
    rows: int
    """One of ``ROWS``."""

    def __str__(self) -> str:
        return f"{self.width}x{self.out} {str(self.dtype).removeprefix('torch.')} {self.rows} rows"


def product_of(weight: Tensor, each: int) -> Product | None:
    """The product of ``weight`` with ``each`` rows of a text; None where there is nothing to choose."""
    return _product(weight.shape[1], weight.shape[0], weight.dtype, each) if 1 < each <= ROWS[-1] else None


@lru_cache
def _product(width: int, out: int, dtype: torch.dtype, each: int) -> Product:
    return Product(width, out, dtype, next(rows for rows in ROWS if rows >= each))  # asked for in every step


@dataclass(frozen=True)
class Choice:
    """A product's kernel."""

    kernel: str
    seconds: Mapping[str, float]
    """The time of each kernel that was measured."""


_chosen: dict[tuple[Policy, Product, int], Choice] = {}
"""What was chosen in this process, by policy, product and number of threads."""
_measuring = Lock()


def known_kernel(weight: Tensor, each: int) -> str:
    """The kernel that was chosen for ``each`` rows a text of this weight, the plain one if none was."""
    product = product_of(weight, each)
    known = None if product is None else _chosen.get((policy(), product, torch.get_num_threads()))
    return "plain" if known is None else known.kernel


def choose(weights: Iterable[Tensor], each: int) -> dict[Product, Choice]:
    """The kernels for ``each`` rows a text of the weights of a model, by product; one is measured once in a process."""
    rule, threads = policy(), torch.get_num_threads()
    alike: dict[Product, list[Tensor]] = {}
    for weight in weights:
        product = product_of(weight, each)
        if product is not None:
            alike.setdefault(product, []).append(weight)
    for product, those in alike.items():
        if (rule, product, threads) not in _chosen:
            with _measuring:
                if (rule, product, threads) not in _chosen:
                    _chosen[rule, product, threads] = _choose(rule, product, those)
    return {product: _chosen[rule, product, threads] for product in alike}


def survey(weights: Sequence[Tensor]) -> dict[Product, Choice]:
    """The kernels for all numbers of rows."""
    return {product: choice for rows in ROWS for product, choice in choose(weights, rows).items()}


def named(choices: Mapping[Product, Choice]) -> dict[str, str]:
    """Choices as they are written: the products whose kernel is not the plain one."""
    return {str(product): choice.kernel for product, choice in choices.items() if choice.kernel != "plain"}


def _choose(rule: Policy, product: Product, weights: Sequence[Tensor]) -> Choice:
    if rule.fixed is not None:
        return Choice(rule.fixed.get(str(product), "plain"), {})
    if weights[0].numel() < LARGE:
        return Choice("plain", {})
    names, used = candidates(product.dtype, rule.packed), weights[:AT_ONCE]
    seconds = measure(used, product.rows, names)
    one = {name: seconds[name] / seconds["plain"] for name in names}
    no_slower = [name for name in names if one[name] <= NOISE]
    times = measure(used, min(SEVERAL * product.rows, ROWS[-1]), no_slower) if len(no_slower) > 1 else {"plain": 1.0}
    several = {name: times[name] / times["plain"] for name in times if times[name] <= NOISE * times["plain"]}
    chosen = min(several, key=lambda name: one[name] * several[name])
    if one[chosen] * several[chosen] > GAIN**2:  # the gain is a mean of both, as ratios have it
        chosen = "plain"
    if chosen != "packed":
        for weight in used:
            forget_packed(weight)
    return Choice(chosen, seconds)


@torch.no_grad()
def measure(weights: Sequence[Tensor], rows: int, names: Sequence[str]) -> dict[str, float]:
    """The median time of each kernel in seconds: they take turns, and the shortest is of weights that happened to be cached."""
    width = weights[0].shape[1]
    x = torch.linspace(-1, 1, rows * width).to(weights[0].dtype).view(rows, width)
    turns = cycle(weights)
    times: dict[str, list[float]] = {name: [] for name in names}
    for weight in weights if "packed" in names else ():
        KERNELS["packed"](x, weight, None)
    for name in names:
        KERNELS[name](x, weights[0], None)
    others = torch.zeros(max(0, APART // len(weights) - weights[0].nbytes) // 4)
    for done in range(ROUNDS):
        if done > 2 and sum(map(sum, times.values())) > SECONDS:
            break
        for name in names:
            weight = next(turns)
            others.sum()
            start = time.perf_counter()
            KERNELS[name](x, weight, None)
            times[name].append(time.perf_counter() - start)
    return {name: median(each) for name, each in times.items()}
