"""What needs no drawings to say how sure figures are: standard errors, and many tests in one table.

Holm, *A Simple Sequentially Rejective Multiple Test Procedure* (1979). Bootstraps are in
:mod:`counterpoint.eval.metrics.resampling`, which needs torch; what only shows results needs none.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

LEVEL = 0.05
"""Adjusted p-values up to this are called differences."""


def standard_error(values: Sequence[float]) -> float | None:
    """The standard error of the mean of independent values, sd / sqrt(n) with n - 1 in the variance; None for fewer than two.

    Example:
        >>> from counterpoint.eval.metrics.significance import standard_error
        >>> standard_error([1.0, 2.0, 3.0])
        0.5773502691896258
    """
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted so that all of them together err with the probability of one (Holm 1979).

        p'_(i) = max over j <= i of min(1, (m - j + 1) p_(j)),    p_(1) <= ... <= p_(m)

    Example:
        >>> from counterpoint.eval.metrics.significance import holm
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted
