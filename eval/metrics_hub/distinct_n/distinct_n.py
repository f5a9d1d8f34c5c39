"""distinct-n as a metric of the ``evaluate`` library; :func:`counterpoint.eval.load_metric` loads it."""

# evaluate copies this file and reads its imports line by line: one import a line
from collections.abc import Sequence

import datasets
import evaluate

from counterpoint.eval import distinct_n


class DistinctN(evaluate.Metric):  # type: ignore[misc] # evaluate has no types
    """:func:`counterpoint.eval.distinct_n` of the predictions, for every n asked for."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=distinct_n.__doc__,
            citation="Li et al. (2016), A Diversity-Promoting Objective Function for Neural Conversation Models, arXiv 1510.03055",
            inputs_description="predictions: generated texts; n: which n-grams. "
            "Returns a dictionary of distinct_n, a fraction, for each n.",
            features=datasets.Features({"predictions": datasets.Value("string")}),
        )

    def _compute(self, predictions: list[str], n: Sequence[int] = (1, 2, 3)) -> dict[str, float]:
        return {f"distinct_{length}": distinct_n(predictions, length) for length in n}
