"""How often 95 % intervals of MAUVE hold the mean of repeated draws: the jackknife that is used, against bootstraps over texts.

    python benchmarks/mauve_intervals.py --texts 100 200 1000 --shifts 0 0.5 1 2 --draws 200

Texts are features of 8 normal coordinates, of which one is shifted on one side: 0 is a decoder that writes as people do. The
bootstrap that finds clusters anew takes 30 times as long as a draw, and has a tenth of the draws.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np

from counterpoint.eval.metrics.mauve import compute_mauve, small_clusters_allowed
from counterpoint.eval.metrics.mauve_intervals import NORMAL, area_under_frontier, error_over_texts

RESAMPLES, ANEW, SEEDS = 500, 30, (25, 26)
KINDS = (
    "jackknife and seeds",
    "bootstrap of histograms, percentiles",
    "bootstrap of histograms, reflected",
    "bootstrap with clusters anew, percentiles",
    "bootstrap with clusters anew, reflected",
)


def measured(p: np.ndarray, q: np.ndarray, seed: int) -> tuple[float, np.ndarray, np.ndarray]:
    """MAUVE and its histograms."""
    with small_clusters_allowed():
        found = compute_mauve()(
            p_features=p, q_features=q, num_buckets=max(2, round(len(p) / 10)), seed=seed, verbose=False, kmeans_num_redo=1
        )
    return float(found.mauve), np.float64(found.p_hist), np.float64(found.q_hist)


def intervals(p: np.ndarray, q: np.ndarray, anew: bool, generator: np.random.Generator) -> tuple[float, list[tuple[float, float]]]:
    """MAUVE of one draw, and its interval by each kind, the last two only if clusters are found anew."""
    n, found = len(p), [measured(p, q, seed) for seed in SEEDS]
    scores = [score for score, _, _ in found]
    mean, over_seeds = float(np.mean(scores)), np.std(scores, ddof=1) / len(scores) ** 0.5
    half = NORMAL * float(np.hypot(np.mean([error_over_texts(*sides, n) for _, *sides in found]), over_seeds))
    drawn = [
        area_under_frontier(*(generator.multinomial(n, side / side.sum(), RESAMPLES) / n for side in sides)) for _, *sides in found
    ]
    kinds = [(mean - half, mean + half), *both_ways(mean, np.concatenate(drawn))]
    if anew:
        again = [
            measured(p[generator.integers(n, size=n)], q[generator.integers(n, size=n)], SEEDS[place % len(SEEDS)])[0]
            for place in range(ANEW)
        ]
        kinds += both_ways(mean, np.array(again))
    return mean, kinds


def both_ways(mean: float, resampled: np.ndarray) -> list[tuple[float, float]]:
    """The interval of the percentiles, and the same reflected about the figure."""
    low, high = np.quantile(resampled, [0.025, 0.975])
    return [(low, high), (2 * mean - high, 2 * mean - low)]


def rows(n: int, shift: float, draws: int) -> list[str]:
    """The table's rows of one setting: how often each kind holds the mean of the draws, and how wide it is."""
    generator = np.random.default_rng(int(n + 10 * shift))
    found = []
    for draw in range(draws):
        p, q = (generator.normal(size=(n, 8)).astype(np.float32) for _ in range(2))
        q[:, 0] += shift
        found.append(intervals(p, q, draw < draws // 10, generator))
    figures = [figure for figure, _ in found]
    mean, deviation = float(np.mean(figures)), float(np.std(figures, ddof=1))
    table = []
    for place, kind in enumerate(KINDS):
        ends = np.array([kinds[place] for _, kinds in found if place < len(kinds)])
        held = ((ends[:, 0] <= mean) & (mean <= ends[:, 1])).mean()
        width = (ends[:, 1].clip(max=1) - ends[:, 0].clip(min=0)).mean()
        table.append(
            f"| {n} | {shift:g} | {mean:.3f} | {deviation:.3f} | {kind} | {len(ends)} | {100 * held:.0f} % | {width:.3f} |"
        )
    return table


def main() -> None:
    """Measure every setting, and print and write the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, nargs="+", default=[100, 200, 1000], help="texts on a side")
    parser.add_argument("--shifts", type=float, nargs="+", default=[0.0, 0.5, 1.0, 2.0], help="how far the sides are apart")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mauve_intervals.md")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # that texts are few is what is measured
    columns = (
        "texts on a side",
        "shift",
        "mean of the draws",
        "their deviation",
        "95 % interval",
        "draws",
        "holds the mean",
        "width",
    )
    table = [f"| {' | '.join(columns)} |", "|---:|---:|---:|---:|---|---:|---:|---:|"]
    for n in arguments.texts:
        for shift in arguments.shifts:
            table += rows(n, shift, arguments.draws)
            print(*table[-len(KINDS) :], sep="\n", flush=True)
            arguments.out.write_text("\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
