"""What bold stands on: a test of distances to human text that keeps its level, on opposite sides too, and has power."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from counterpoint.eval.bench import metrics as bench_metrics
from counterpoint.eval.bench import statistics
from counterpoint.eval.bench.metrics import METRICS, Column
from counterpoint.eval.bench.scores import Cell
from counterpoint.eval.bench.statistics import distance, farther, mark_best, paired
from counterpoint.eval.metrics.resampling import bootstrap, bootstrap_p_value

WORDS = METRICS["length"].columns["length"]
NOMINAL, ALLOWED = 0.05, 0.08

Draw = Callable[..., Tensor]
Worlds = dict[str, Callable[[Draw, Tensor, int], tuple[Tensor, Tensor]]]

EQUALLY_FAR: Worlds = {
    "opposite sides": lambda draw, prompt, seeds: (prompt + draw(seeds) - 0.5, prompt + draw(seeds) + 0.5),
    "opposite sides, skewed": lambda draw, prompt, seeds: (draw(seeds).exp() - 2.149, 1.2 * draw(seeds) + prompt + 0.5),
    "the same side": lambda draw, prompt, seeds: (prompt + draw(seeds) + 0.5, 1.5 * draw(seeds) + 0.5),
    "like human text": lambda draw, prompt, seeds: (prompt + draw(seeds), prompt + draw(seeds)),
}
"""Values of two decoders, whose means lie equally far from the human ones', 0, given something of the prompt's that all share."""


def world(name: str, made: Worlds, simulations: int, prompts: int, seeds: int) -> Tensor:
    """Values ``[simulations, 3, seeds, prompts]`` of two decoders and of human texts."""
    generator = torch.Generator().manual_seed(prompts + seeds)

    def draw(rows: int) -> Tensor:
        return torch.randn(simulations, rows, prompts, generator=generator, dtype=torch.float64)

    prompt = 0.7 * draw(1)
    one, other = made[name](draw, prompt, seeds)
    return torch.stack([one, other, (prompt + draw(1)).expand(-1, seeds, -1)], dim=1)


def p_values(values: Tensor) -> Tensor:
    """Of the test that :func:`farther` makes, for many simulations at once."""
    texts = torch.stack([values, torch.ones_like(values)], dim=-1)
    observed = distance(bench_metrics.mean(texts.sum(dim=-2)).mean(dim=-1))
    found = [
        bootstrap_p_value(near, distance(bootstrap(part, bench_metrics.mean, resamples=1999)), values.shape[-1])
        for part, near in zip(texts.split(50), observed.split(50), strict=True)
    ]
    return torch.cat(found)


def rejected(found: Tensor) -> float:
    """The share of simulations in which a test says that there is a difference."""
    return float((found <= NOMINAL).double().mean())


def check_size(name: str, simulations: int, prompts: int, seeds: int, test: Callable[[Tensor], Tensor] = p_values) -> None:
    """The law: of decoders that are equally far from human text, few are said not to be."""
    share = rejected(test(world(name, EQUALLY_FAR, simulations, prompts, seeds)))
    assert share <= ALLOWED, share


@pytest.mark.parametrize("name", EQUALLY_FAR)
def test_size(name: str) -> None:
    check_size(name, simulations=1000, prompts=60, seeds=1)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("prompts", [200, 1000])
@pytest.mark.parametrize("name", EQUALLY_FAR)
def test_size_as_users_have_it(name: str, prompts: int, seeds: int) -> None:
    check_size(name, 1000, prompts, seeds)


def exchanged(values: Tensor, resamples: int = 1999) -> Tensor:
    """P-values by exchanging the decoders' texts, with the human mean taken as known: the test that was here before."""
    one, other, human = values.mean(dim=2).unbind(dim=1)  # over seeds: [simulations, prompts]
    coins = torch.randint(2, (resamples, one.shape[1]), generator=torch.Generator().manual_seed(0)).double()
    moved = (other - one) @ coins.T / one.shape[1]
    target = human.mean(dim=1, keepdim=True)
    before, after = one.mean(dim=1, keepdim=True), other.mean(dim=1, keepdim=True)
    observed = (after - target).abs() - (before - target).abs()
    null = (after - moved - target).abs() - (before + moved - target).abs()
    return (1 + (null.abs() >= observed.abs()).sum(dim=1)).double() / (1 + resamples)


def test_exchanging_texts_fails_on_opposite_sides() -> None:
    with pytest.raises(AssertionError):
        check_size("opposite sides", 300, 60, 1, exchanged)


def check_power(
    effect: float, least: float, simulations: int, prompts: int, seeds: int, test: Callable[[Tensor], Tensor] = p_values
) -> None:
    """The law: a decoder that is farther by ``effect`` is found as often as by the test before, which is valid on one side."""
    farther_off: Worlds = {"x": lambda draw, prompt, seeds: (prompt + draw(seeds) + 0.5, prompt + draw(seeds) + 0.5 + effect)}
    values = world("x", farther_off, simulations, prompts, seeds)
    found, before = test(values) <= NOMINAL, exchanged(values) <= NOMINAL
    share, by_chance = float(found.double().mean()), 2 * float((found != before).sum()) ** 0.5 / simulations
    assert share >= least, share
    assert share >= float(before.double().mean()) - by_chance, share


@pytest.mark.parametrize(("effect", "least"), [(0.2, 0.48), (0.3, 0.8)])
def test_power(effect: float, least: float) -> None:
    check_power(effect, least, simulations=1000, prompts=200, seeds=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prompts", "seeds", "effect", "least"), [(200, 3, 0.1, 0.36), (200, 3, 0.2, 0.88), (1000, 1, 0.1, 0.57), (1000, 3, 0.05, 0.43)]
)
def test_power_as_users_have_it(prompts: int, seeds: int, effect: float, least: float) -> None:
    check_power(effect, least, 1000, prompts, seeds)


@pytest.mark.parametrize("weaker", [lambda values: torch.ones(len(values)), lambda values: 2 * p_values(values)])
def test_the_check_catches_tests_without_power(weaker: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(AssertionError):
        check_power(0.2, 0.0, 300, 60, 1, weaker)


def test_p_values_by_hand() -> None:
    drawn = torch.tensor([[-1.0, 1.0], [1.0, 2.0], [2.0, 3.0], [torch.nan, 4.0]], dtype=torch.float64)
    found = bootstrap_p_value(torch.tensor([1.0, 2.5], dtype=torch.float64), drawn, prompts=10**9)
    assert found.tolist() == pytest.approx([1.0, 0.4])  # 2 (1 + 2) / 5, at most 1; 2 (1 + 0) / 5
    few = bootstrap_p_value(torch.tensor(1.0, dtype=torch.float64), torch.tensor([0.1, 2.0], dtype=torch.float64), prompts=2)
    assert float(few) == 1.0  # 1 + (0.1 - 1) sqrt(2) < 0, and 2 (1 + 1) / 3 is more than 1


def cell(means: list[float], prompts: int = 40, spread: float = 1.0, seed: int = 0) -> Cell:
    """Values about a mean for each seed."""
    noise = spread * torch.randn(len(means), prompts, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = noise - noise.mean(dim=1, keepdim=True) + torch.tensor(means, dtype=torch.float64)[:, None]
    return Cell(
        values=dict(enumerate(means)),
        terms={number: bench_metrics.terms(row.tolist()) for number, row in enumerate(values)},
        indices={number: range(prompts) for number in range(len(means))},
    )


def test_the_test_of_cells_is_that_of_values() -> None:
    near, far, human = cell([1.0, 1.2], seed=1), cell([-1.9], seed=2), cell([0.0], seed=3)
    pair = paired(near, far, human)
    assert pair is not None
    values = torch.stack([each[..., 0] for each in pair])
    assert [tuple(each.shape) for each in pair] == [(2, 40, 2)] * 3
    expected = float(p_values(values[None].expand(50, -1, -1, -1))[0])
    assert farther(near, far, human, WORDS) == pytest.approx(expected, abs=0.02)
    assert farther(near, far, Cell(reason="none"), WORDS) is None
    assert farther(near, far, human, replace(WORDS, combine=None)) is None


def marked(
    better: Literal["higher", "lower", "human"], means: dict[str, float | None], human: float | None = None
) -> dict[str, Any]:
    """Which decoders are marked as the best, of 40 texts each."""
    column = Column("x", better, bench_metrics.mean)
    cells = {
        label: Cell(reason="none") if mean is None else cell([mean], seed=place)
        for place, (label, mean) in enumerate(means.items(), 1)
    }
    figures: dict[str, dict[str, Any]] = {label: {"value": mean} for label, mean in means.items()}
    mark_best(cells, figures, column, None if human is None else cell([human], spread=0.1))
    return {label: figure.get("best") for label, figure in figures.items()}


def check_marks() -> None:
    """The law: marked is what no test tells from the best, and nothing where there is no test."""
    assert marked("higher", {"a": 1.0, "b": 4.0, "c": 4.1}) == {"a": False, "b": True, "c": True}
    assert marked("lower", {"a": 1.0, "b": 4.0, "c": None}) == {"a": True, "b": False, "c": None}
    assert marked("human", {"a": -1.0, "b": 1.02, "c": 6.0}, human=0.0) == {"a": True, "b": True, "c": False}
    assert marked("human", {"a": 3.0, "b": 2.0}) == {"a": None, "b": None}  # no people to be near to
    assert marked("higher", {"a": 3.0}) == {"a": None}
    assert marked("higher", {"a": None, "b": None}) == {"a": None, "b": None}


def test_marks() -> None:
    check_marks()


@pytest.mark.parametrize("broken", [lambda *cells: 0.0, lambda *cells: None])
def test_the_check_catches_marks_without_a_test(monkeypatch: pytest.MonkeyPatch, broken: Any) -> None:
    monkeypatch.setattr(statistics, "farther", broken)
    with pytest.raises(AssertionError):
        check_marks()


def test_equal_decoders_are_both_marked() -> None:
    same = cell([2.0])
    figures: dict[str, dict[str, Any]] = {"a": {"value": 2.0}, "b": {"value": 2.0}}
    mark_best({"a": same, "b": same}, figures, WORDS, cell([0.0]))
    assert [figure["best"] for figure in figures.values()] == [True, True]
    assert figures["b"]["p_best"] == 1.0
