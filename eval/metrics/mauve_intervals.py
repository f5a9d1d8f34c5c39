"""How much MAUVE would differ if other texts had been drawn."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

POINTS = 25  # mauve-text's own, as is the next
SCALE = 5.0
NORMAL = 1.959964
"""Standard errors from the middle of a 95 % interval to its end."""


def area_under_frontier(
    p: Float[np.ndarray, "sets buckets"], q: Float[np.ndarray, "sets buckets"], points: int = POINTS, scale: float = SCALE
) -> Float[np.ndarray, " sets"]:
    """The area under the curve (exp(-c KL(q || r)), exp(-c KL(p || r))), r = w p + (1 - w) q, by trapezoids: MAUVE of histograms.

    Example:
        >>> import numpy as np
        >>> from counterpoint.eval.metrics.mauve_intervals import area_under_frontier
        >>> equal, apart = area_under_frontier(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.5, 0.5], [0.0, 1.0]]))
        >>> round(float(equal), 3), round(float(apart), 3)
        (1.0, 0.004)
    """
    weights = np.linspace(1e-6, 1 - 1e-6, points)
    mixtures = [weight * p + (1 - weight) * q for weight in weights]
    ends = np.zeros(p.shape[:-1]), np.ones(p.shape[:-1])
    x = np.stack([ends[1], *(np.exp(-scale * divergence(q, r)) for r in mixtures), ends[0]])
    y = np.stack([ends[0], *(np.exp(-scale * divergence(p, r)) for r in mixtures), ends[1]])
    area: Float[np.ndarray, " sets"] = ((x[:-1] - x[1:]) * (y[:-1] + y[1:]) / 2).sum(axis=0)
    return area


def divergence(p: Float[np.ndarray, "sets buckets"], r: Float[np.ndarray, "sets buckets"]) -> Float[np.ndarray, " sets"]:
    """KL(p || r) = sum of p log(p / r), where r is nowhere 0 that p is not."""
    held = p > 0
    ratio = np.divide(p, r, out=np.ones_like(p), where=held)
    total: Float[np.ndarray, " sets"] = (p * np.log(ratio)).sum(axis=-1)
    return total


def error_over_texts(p: Float[np.ndarray, " buckets"], q: Float[np.ndarray, " buckets"], n: int) -> float:
    """The standard error of MAUVE over texts, by a jackknife: each of the ``n`` texts of a side is left out in turn.

        SE^2 = sum over sides of (n - 1) / n sum over texts i of (m_(i) - mean m_(.))^2

    Texts in one bucket have the same m_(i), so that there are as many to compute as buckets. The clusters are kept; that they would
    differ is what seeds of k-means show. A bootstrap adds noise to histograms that are noisy already, which is all of the distance
    where the two sides are alike (docs/metrics/mauve.md has both beside draws made anew).
    """
    variance = 0.0
    sides = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    for place, side in enumerate(sides):
        counts = np.rint(side * n)
        held = counts > 0
        less = ((counts - np.eye(len(counts))) / (n - 1))[held]
        fixed = np.broadcast_to(sides[1 - place], less.shape)
        areas = area_under_frontier(less, fixed) if place == 0 else area_under_frontier(fixed, less)
        mean = (areas * counts[held]).sum() / n
        variance += (n - 1) / n * (counts[held] * (areas - mean) ** 2).sum()
    return float(np.sqrt(variance))


def interval_around(mauve: float, over_texts: float, over_seeds: float | None) -> tuple[float, float]:
    """A 95 % interval from the standard errors over texts and over seeds of k-means, within 0 and 1."""
    half = NORMAL * float(np.hypot(over_texts, over_seeds or 0.0))
    return max(0.0, mauve - half), min(1.0, mauve + half)
