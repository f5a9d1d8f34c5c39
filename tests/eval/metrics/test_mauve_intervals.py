"""MAUVE's interval over texts: its area is mauve-text's, its standard error that of samples drawn anew."""

from __future__ import annotations

import statistics
import warnings

import numpy as np
import pytest

from counterpoint.eval.metrics.mauve import compute_mauve, mauve, small_clusters_allowed
from counterpoint.eval.metrics.mauve_intervals import area_under_frontier, error_over_texts, interval_around

P, Q = np.array([0.5, 0.3, 0.2, 0.0]), np.array([0.2, 0.3, 0.1, 0.4])


def sample(n: int, shift: float, generator: np.random.Generator) -> np.ndarray:
    """Features of ``n`` texts."""
    return (generator.normal(size=(n, 8)) + np.r_[shift, np.zeros(7)]).astype(np.float32)


def area(p: np.ndarray, q: np.ndarray) -> float:
    """MAUVE of two histograms."""
    return float(area_under_frontier(p[None], q[None])[0])


def test_the_area_is_that_of_mauve_text() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("mauve", reason="needs the extra mauve")
    generator = np.random.default_rng(0)
    with small_clusters_allowed():
        for shift in (0.0, 0.5, 3.0):
            found = compute_mauve()(
                p_features=sample(60, 0.0, generator), q_features=sample(60, shift, generator), num_buckets=6, verbose=False
            )
            assert area(np.float64(found.p_hist), np.float64(found.q_hist)) == pytest.approx(float(found.mauve), abs=1e-9)


def test_the_error_is_that_of_leaving_each_text_out() -> None:
    n, variance = 20, 0.0
    for side in (0, 1):
        labels = np.repeat(np.arange(4), np.rint((P, Q)[side] * n).astype(int))
        values = []
        for left_out in range(n):
            histogram = np.bincount(np.delete(labels, left_out), minlength=4) / (n - 1)
            values.append(area(*((histogram, Q) if side == 0 else (P, histogram))))
        variance += (n - 1) / n * sum((value - statistics.fmean(values)) ** 2 for value in values)
    assert error_over_texts(P, Q, n) == pytest.approx(variance**0.5, rel=1e-9)


def test_the_error_is_that_of_samples_drawn_anew() -> None:
    generator, n = np.random.default_rng(1), 500
    drawn = [[generator.multinomial(n, side) / n for side in (P, Q)] for _ in range(200)]
    spread = float(np.std([area(*pair) for pair in drawn], ddof=1))
    errors = [error_over_texts(*pair, n) for pair in drawn]
    assert 0.8 * spread < statistics.fmean(errors) < 1.25 * spread


def test_intervals() -> None:
    assert interval_around(0.9, 0.03, 0.04) == pytest.approx((0.9 - 1.959964 * 0.05, 0.9 + 1.959964 * 0.05))
    assert interval_around(0.9, 0.3, None) == pytest.approx((0.9 - 1.959964 * 0.3, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("mauve", reason="needs the extra mauve")
        generator = np.random.default_rng(2)
        found = mauve(sample(60, 0.0, generator), sample(60, 1.0, generator), seeds=2)
    low, high = found.interval
    assert low < found.mauve < high
    assert found.mauve - low > 1.9 * statistics.stdev(found.scores) / 2**0.5  # that over the seeds, and more
