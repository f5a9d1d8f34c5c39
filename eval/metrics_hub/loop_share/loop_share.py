"""The share of texts that end in a loop as a metric of the ``evaluate`` library; :func:`counterpoint.eval.load_metric` loads it."""

# evaluate copies this file and reads its imports line by line: one import a line
import datasets
import evaluate

from counterpoint.eval import loop_share


class LoopShare(evaluate.Metric):  # type: ignore[misc] # evaluate has no types
    """:func:`counterpoint.eval.loop_share` of the predictions."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=loop_share.__doc__,
            citation="Holtzman et al. (2020), The Curious Case of Neural Text Degeneration, arXiv 1904.09751",
            inputs_description="predictions: generated texts; longest: words of the longest phrase. Returns a dictionary with "
            "loop_share, a fraction.",
            features=datasets.Features({"predictions": datasets.Value("string")}),
        )

    def _compute(self, predictions: list[str], longest: int = 90) -> dict[str, float]:
        return {"loop_share": loop_share(predictions, longest=longest)}
