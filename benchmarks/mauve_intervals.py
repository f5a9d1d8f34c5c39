"""How often 95 % intervals of MAUVE hold the mean of repeated draws: the jackknife that is used, against bootstraps over texts.

    python benchmarks/mauve_intervals.py 100 0.5 100

draws 100 times 100 texts a side, as features of 8 normal coordinates of which one is shifted by 0.5 on one side.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np

from counterpoint.eval.metrics.mauve import compute_mauve, small_clusters_allowed
from counterpoint.eval.metrics.mauve_intervals import NORMAL, area_under_frontier, error_over_texts

RESAMPLES, WHOLE, WHOLE_DRAWS, SEEDS = 500, 30, 20, (25, 26)
warnings.simplefilter("ignore")
compute = compute_mauve()


def measured(p: np.ndarray, q: np.ndarray, seed: int) -> tuple[float, np.ndarray, np.ndarray]:
    """MAUVE and its histograms."""
    with small_clusters_allowed():
        found = compute(
            p_features=p, q_features=q, num_buckets=max(2, round(len(p) / 10)), seed=seed, verbose=False, kmeans_num_redo=1
        )
    return float(found.mauve), np.float64(found.p_hist), np.float64(found.q_hist)


def main(n: int, shift: float, draws: int) -> None:
    """Print the coverage and width of each kind of interval."""
    generator = np.random.default_rng(int(n + 10 * shift))
    estimates, intervals = [], []
    for draw in range(draws):
        p, q = (generator.normal(size=(n, 8)).astype(np.float32) for _ in range(2))
        q[:, 0] += shift
        found = [measured(p, q, seed) for seed in SEEDS]
        mean, over_seeds = np.mean([each[0] for each in found]), np.std([each[0] for each in found], ddof=1) / len(found) ** 0.5
        jackknife = np.hypot(np.mean([error_over_texts(one, other, n) for _, one, other in found]), over_seeds)
        drawn = np.concatenate(
            [
                area_under_frontier(*(generator.multinomial(n, side / side.sum(), RESAMPLES) / n for side in each[1:]))
                for each in found
            ]
        )
        low, high = np.quantile(drawn, [0.025, 0.975])
        own = {
            "jackknife, seeds": (mean - NORMAL * jackknife, mean + NORMAL * jackknife),
            "bootstrap of histograms, percentiles": (low, high),
            "the same, reflected": (2 * mean - high, 2 * mean - low),
        }
        if draw < WHOLE_DRAWS:
            whole = [
                measured(p[generator.integers(n, size=n)], q[generator.integers(n, size=n)], SEEDS[place % len(SEEDS)])[0]
                for place in range(WHOLE)
            ]
            low, high = np.quantile(whole, [0.025, 0.975])
            own |= {
                "bootstrap with clusters anew, percentiles": (low, high),
                "clusters anew, reflected": (2 * mean - high, 2 * mean - low),
            }
        estimates.append(mean)
        intervals.append(own)
    truth = np.mean(estimates)
    print(f"n={n}, shift={shift}: mean of {draws} draws {truth:.3f}, their deviation {np.std(estimates, ddof=1):.4f}")
    for name in intervals[0]:
        ends = np.array([own[name] for own in intervals if name in own])
        coverage = ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean()
        width = (ends[:, 1].clip(max=1) - ends[:, 0].clip(min=0)).mean()
        print(f"    {name}: holds it {coverage:.2f}, width {width:.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
