"""Intervals and tests: against enumeration and plain loops, their coverage and size, and the defects that would spoil them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from counterpoint.eval.metrics.resampling import bootstrap, interval, metric_of, p_value, swapped
from counterpoint.eval.metrics.significance import holm, standard_error

Combine = Callable[[Tensor], Tensor]
PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def mean(sums: Tensor) -> Tensor:
    """A metric: the mean of v from sums of (v, 1)."""
    return sums[..., 0] / sums[..., 1]


def normal(*shape: int, seed: int, shift: float = 0.0) -> Tensor:
    """Texts (v, 1) with v from a normal distribution: ``[seeds, prompts, 2]``."""
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift
    return torch.stack([drawn, torch.ones_like(drawn)], dim=-1)


def test_standard_error_by_hand() -> None:
    assert standard_error([2.0, 4.0, 9.0]) == pytest.approx(math.sqrt(((5 - 2) ** 2 + (5 - 4) ** 2 + (5 - 9) ** 2) / 2 / 3))
    assert standard_error([2.0]) is None
    assert standard_error([]) is None


def test_the_metric_is_computed_for_each_seed() -> None:
    texts = torch.tensor([[[1.0, 1.0], [2.0, 3.0]], [[5.0, 1.0], [0.0, 0.0]]], dtype=torch.float64)
    assert metric_of(texts, mean) == (3 / 4 + 5 / 1) / 2


def test_bootstrapped_values_are_those_of_drawn_prompts() -> None:
    """All 27 drawings of 3 prompts: their values are the only ones, and come as often as they should."""
    texts = torch.tensor([[[1.0, 1.0], [4.0, 2.0], [9.0, 1.0]], [[2.0, 1.0], [0.0, 0.0], [7.0, 3.0]]], dtype=torch.float64)
    expected: dict[float, int] = {}
    for drawn in itertools.product(range(3), repeat=3):
        sums = [[sum(float(texts[seed, prompt, term]) for prompt in drawn) for term in range(2)] for seed in range(2)]
        if all(total for _, total in sums):
            value = round(sum(value / total for value, total in sums) / 2, 9)
            expected[value] = expected.get(value, 0) + 1
    found = [round(value, 9) for value in bootstrap(texts, mean, resamples=27000).tolist() if math.isfinite(value)]
    assert set(found) == set(expected)
    for value, times in expected.items():
        assert found.count(value) == pytest.approx(1000 * times, abs=6 * math.sqrt(1000 * times))


def check_coverage(bootstrapped: Callable[..., Tensor]) -> None:
    """Of 95% intervals for a mean of 40 prompts under 3 seeds, about 95% have the true one."""
    covered = 0
    for seed in range(300):
        texts = normal(3, 40, seed=seed)
        texts[..., 0] = texts[..., 0] / 2 + normal(1, 40, seed=1000 + seed)[..., 0]  # a prompt's texts have much in common
        found = interval(bootstrapped(texts, mean, resamples=400, seed=seed), 0.95)
        assert found is not None
        covered += found[0] <= 0 <= found[1]
    assert 0.90 <= covered / 300 <= 0.98  # a percentile interval of 40 is a little narrow


def bootstrap_of_texts(texts: Tensor, combine: Combine, *, resamples: int, seed: int) -> Tensor:
    """Broken: the texts of a prompt are taken for those of as many prompts."""
    return bootstrap(texts.flatten(0, 1)[None], combine, resamples=resamples, seed=seed)


def test_intervals_cover_the_truth() -> None:
    check_coverage(bootstrap)
    with pytest.raises(AssertionError):
        check_coverage(bootstrap_of_texts)


def test_interval_of_known_values() -> None:
    values = torch.arange(101, dtype=torch.float64)
    assert interval(values, 0.9) == pytest.approx((5, 95))
    assert interval(torch.cat([values, torch.full((50,), torch.nan, dtype=torch.float64)]), 0.9) == pytest.approx((5, 95))
    assert interval(torch.full((3,), torch.nan, dtype=torch.float64), 0.9) is None


def exact_p_value(first: Tensor, second: Tensor) -> float:
    """Over all ways to swap the texts of some prompts, in loops."""

    def difference(one: list[Tensor], other: list[Tensor]) -> float:
        return sum(float(mean(sum(texts[seed] for texts in other)) - mean(sum(texts[seed] for texts in one))) for seed in range(2))

    pairs = list(zip(first.unbind(1), second.unbind(1), strict=True))
    observed = difference([one for one, _ in pairs], [other for _, other in pairs])
    as_far = 0
    for swaps in itertools.product((False, True), repeat=len(pairs)):
        swapped_pairs = [pair[::-1] if swap else pair for swap, pair in zip(swaps, pairs, strict=True)]
        value = difference([one for one, _ in swapped_pairs], [other for _, other in swapped_pairs])
        as_far += abs(value) >= abs(observed) - 1e-9
    return as_far / 2 ** len(pairs)


def permutation_p_value(first: Tensor, second: Tensor, resamples: int = 9999, seed: int = 0) -> float:
    """Of the difference between the means."""
    of_first, of_second = swapped(first, second, mean, resamples=resamples, seed=seed)
    return p_value(metric_of(second, mean) - metric_of(first, mean), of_second - of_first)


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.8])
def test_p_values_are_those_of_all_swaps(shift: float) -> None:
    first, second = normal(2, 9, seed=1), normal(2, 9, seed=2, shift=shift)
    assert permutation_p_value(first, second) == pytest.approx(exact_p_value(first, second), abs=0.02)


def check_size(tested: Callable[..., float]) -> None:
    """Of two decoders that are alike but for chance, 5% have a p-value of at most 0.05; of two that differ, most."""
    alike = [tested(normal(2, 20, seed=seed), normal(2, 20, seed=5000 + seed), 199, seed) for seed in range(300)]
    assert sum(p <= 0.05 for p in alike) / 300 == pytest.approx(0.05, abs=0.04)
    differ = [tested(normal(2, 20, seed=seed), normal(2, 20, seed=5000 + seed, shift=1), 199, seed) for seed in range(50)]
    assert sum(p <= 0.05 for p in differ) / 50 > 0.9


def one_sided(first: Tensor, second: Tensor, resamples: int, seed: int) -> float:
    """Broken: counts differences in one direction only."""
    of_first, of_second = swapped(first, second, mean, resamples=resamples, seed=seed)
    observed = abs(metric_of(second, mean) - metric_of(first, mean))
    return float((of_second - of_first >= observed).double().mean())


def swaps_of_one_side(first: Tensor, second: Tensor, resamples: int, seed: int) -> float:
    """Broken: only one of the two gets the other's texts."""
    of_first, _ = swapped(first, second, mean, resamples=resamples, seed=seed)
    return p_value(metric_of(second, mean) - metric_of(first, mean), metric_of(second, mean) - of_first)


def test_the_test_errs_as_often_as_it_says() -> None:
    check_size(permutation_p_value)


@pytest.mark.parametrize("broken", [one_sided, swaps_of_one_side])
def test_the_check_catches_a_wrong_test(broken: Callable[..., float]) -> None:
    with pytest.raises(AssertionError):
        check_size(broken)


def test_texts_that_are_the_same_do_not_differ() -> None:
    texts = normal(2, 30, seed=3)
    assert permutation_p_value(texts, texts.clone()) == 1


def test_pairing_sees_what_prompts_hide() -> None:
    """A small shift of every text, below the noise of prompts: seen where prompts are paired."""
    first = 10 * normal(1, 40, seed=4)
    second = first.clone()
    second[..., 0] += 0.1 + 0.1 * normal(1, 40, seed=5)[..., 0]
    first[..., 1] = second[..., 1] = 1
    assert permutation_p_value(first, second) < 0.001
    assert permutation_p_value(first, second[:, torch.randperm(40, generator=torch.Generator().manual_seed(0))]) > 0.1


def test_many_drawings_are_made_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, other = normal(2, 7, seed=6), normal(2, 7, seed=7)
    monkeypatch.setattr("counterpoint.eval.metrics.resampling.AT_ONCE", 50)
    assert len(bootstrap(texts, mean, resamples=101)) == len(swapped(texts, other, mean, resamples=101)[0]) == 101
    assert bootstrap(texts, mean, resamples=101).tolist() == bootstrap(texts, mean, resamples=101).tolist()
    assert bootstrap(texts, mean, resamples=101).unique().numel() > 90
    assert bootstrap(texts, mean, resamples=101).tolist() != bootstrap(texts, mean, resamples=101, seed=1).tolist()


@given(PROBABILITIES)
def test_holm_rejects_what_the_steps_reject(p_values: list[float]) -> None:
    """Holm's procedure as he gives it: from the smallest on, reject while p <= level / (those left)."""
    for level in (0.01, 0.05, 0.3):
        rejected, left = set(), sorted(range(len(p_values)), key=lambda index: p_values[index])
        while left and p_values[left[0]] * len(left) <= level:
            rejected.add(left.pop(0))
        assert {index for index, p in enumerate(holm(p_values)) if p <= level} == rejected


@given(PROBABILITIES)
def test_holm_is_no_smaller_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= new <= 1 for p, new in zip(p_values, adjusted, strict=True))
    pairs = sorted(zip(p_values, adjusted, strict=True))
    assert [new for _, new in pairs] == sorted(adjusted)
