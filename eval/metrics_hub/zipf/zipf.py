"""Zipf's coefficient as a metric of the ``evaluate`` library; :func:`counterpoint.eval.load_metric` loads it."""

# evaluate copies this file and reads its imports line by line: one import a line
import datasets
import evaluate

from counterpoint.eval import zipf


class Zipf(evaluate.Metric):  # type: ignore[misc] # evaluate has no types
    """:func:`counterpoint.eval.zipf` of the predictions."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=zipf.__doc__,
            citation="Holtzman et al. (2020), The Curious Case of Neural Text Degeneration, arXiv 1904.09751",
            inputs_description="predictions: generated texts; ranks: how many words count. "
            "Returns a dictionary with zipf, the coefficient.",
            features=datasets.Features({"predictions": datasets.Value("string")}),
        )

    def _compute(self, predictions: list[str], ranks: int = 5000) -> dict[str, float]:
        return {"zipf": zipf(predictions, ranks=ranks)}
