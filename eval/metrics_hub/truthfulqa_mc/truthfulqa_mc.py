"""MC1, MC2 and MC3 as a metric of the ``evaluate`` library; :func:`counterpoint.eval.load_metric` loads it."""

# evaluate copies this file and reads its imports line by line: one import a line
import datasets
import evaluate

from counterpoint.eval import mc1, mc2, mc3


class TruthfulqaMc(evaluate.Metric):  # type: ignore[misc] # evaluate has no types, and names the metric after the class
    """Means over questions of :func:`counterpoint.eval.mc1`, ``mc2`` and ``mc3``."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="\n\n".join(filter(None, (metric.__doc__ for metric in (mc1, mc2, mc3)))),
            citation="Lin et al. (2022), TruthfulQA: Measuring How Models Mimic Human Falsehoods, arXiv 2109.07958",
            inputs_description="predictions: for each question its answers' scores (sums of log-probabilities); references: for "
            "each question 1 for a true answer, 0 for a false one, the first true one being the best. Returns a dictionary of "
            "mc1, mc2 and mc3, fractions.",
            features=datasets.Features(
                {"predictions": datasets.List(datasets.Value("float64")), "references": datasets.List(datasets.Value("int64"))}
            ),
        )

    def _compute(self, predictions: list[list[float]], references: list[list[int]]) -> dict[str, float]:
        found = []
        for scores, labels in zip(predictions, references, strict=True):
            true, false = ([score for score, label in zip(scores, labels, strict=True) if label == kind] for kind in (1, 0))
            if not true:
                raise ValueError("references: a question without a true answer (1); mark at least one, the best one first")
            found.append((mc1(true[0], false), mc2(true, false), mc3(true, false)))
        return {
            name: sum(values) / len(found) for name, values in zip(("mc1", "mc2", "mc3"), zip(*found, strict=True), strict=True)
        }
