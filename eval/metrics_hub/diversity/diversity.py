"""Diversity as a metric of the ``evaluate`` library; :func:`counterpoint.eval.load_metric` loads it."""

# evaluate copies this file and reads its imports line by line: one import a line
import datasets
import evaluate

from counterpoint.eval import diversity


class Diversity(evaluate.Metric):  # type: ignore[misc] # evaluate has no types
    """:func:`counterpoint.eval.diversity` of the predictions."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=diversity.__doc__,
            citation="Su and Collier (2023), Contrastive Search Is What You Need For Neural Text Generation, arXiv 2210.14140",
            inputs_description="predictions: generated texts; published: as counterpoint.eval.diversity. "
            "Returns a dictionary with the diversity, a fraction.",
            features=datasets.Features({"predictions": datasets.Value("string")}),
        )

    def _compute(self, predictions: list[str], published: bool = False) -> dict[str, float]:
        return {"diversity": diversity(predictions, published=published)}
