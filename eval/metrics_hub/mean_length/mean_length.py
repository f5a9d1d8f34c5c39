"""Mean length as a metric of the ``evaluate`` library; :func:`counterpoint.eval.load_metric` loads it."""

# evaluate copies this file and reads its imports line by line: one import a line
from typing import Any

import datasets
import evaluate

from counterpoint.eval import mean_length


class MeanLength(evaluate.Metric):  # type: ignore[misc] # evaluate has no types
    """:func:`counterpoint.eval.mean_length` of the predictions."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=mean_length.__doc__,
            citation="Su and Collier (2023), Contrastive Search Is What You Need For Neural Text Generation, arXiv 2210.14140",
            inputs_description="predictions: generated texts; tokenizer: counts its tokens, None counts words. "
            "Returns a dictionary with mean_length.",
            features=datasets.Features({"predictions": datasets.Value("string")}),
        )

    def _compute(self, predictions: list[str], tokenizer: Any = None) -> dict[str, float]:
        return {"mean_length": mean_length(predictions, tokenizer=tokenizer)}
