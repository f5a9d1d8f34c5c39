"""Self-BLEU as a metric of the ``evaluate`` library; :func:`counterpoint.eval.load_metric` loads it."""

# evaluate copies this file and reads its imports line by line: one import a line
from collections.abc import Sequence

import datasets
import evaluate

from counterpoint.eval import self_bleu


class SelfBleu(evaluate.Metric):  # type: ignore[misc] # evaluate has no types
    """:func:`counterpoint.eval.self_bleu` of the predictions, for every n asked for."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self_bleu.__doc__,
            citation="Zhu et al. (2018), Texygen: A Benchmarking Platform for Text Generation Models, arXiv 1802.01886",
            inputs_description="predictions: generated texts; n: the longest n-grams; samples and seed: as "
            "counterpoint.eval.metrics.self_bleu. Returns a dictionary of self_bleu_n, a fraction, for each n.",
            features=datasets.Features({"predictions": datasets.Value("string")}),
        )

    def _compute(
        self, predictions: list[str], n: Sequence[int] = (4, 5), samples: int | None = 1000, seed: int = 0
    ) -> dict[str, float]:
        return {f"self_bleu_{length}": self_bleu(predictions, length, samples=samples, seed=seed) for length in n}
