"""rep-n as a metric of the ``evaluate`` library; :func:`counterpoint.eval.load_metric` loads it."""

# evaluate copies this file and reads its imports line by line: one import a line
from collections.abc import Sequence

import datasets
import evaluate

from counterpoint.eval import rep_n


class RepN(evaluate.Metric):  # type: ignore[misc] # evaluate has no types
    """:func:`counterpoint.eval.rep_n` of the predictions, for every n asked for."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=rep_n.__doc__,
            citation="Su and Collier (2023), Contrastive Search Is What You Need For Neural Text Generation, arXiv 2210.14140",
            inputs_description="predictions: generated texts; n: which n-grams; published: as counterpoint.eval.rep_n. "
            "Returns a dictionary of rep_n, a fraction, for each n.",
            features=datasets.Features({"predictions": datasets.Value("string")}),
        )

    def _compute(self, predictions: list[str], n: Sequence[int] = (2, 3, 4), published: bool = False) -> dict[str, float]:
        return {f"rep_{length}": rep_n(predictions, length, published=published) for length in n}
