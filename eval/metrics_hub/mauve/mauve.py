"""MAUVE as a metric of the ``evaluate`` library; :func:`counterpoint.eval.load_metric` loads it."""

# evaluate copies this file and reads its imports line by line: one import a line
from collections.abc import Sequence

import datasets
import evaluate

from counterpoint.eval import mauve_score


class Mauve(evaluate.Metric):  # type: ignore[misc] # evaluate has no types
    """:func:`counterpoint.eval.mauve_score` of predictions against references."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=mauve_score.__doc__,
            citation="Pillutla et al. (2021), MAUVE: Measuring the Gap Between Neural Text and Human Text using Divergence "
            "Frontiers, arXiv 2102.01454",
            inputs_description="predictions: generated continuations; references: human ones; prompts: what was continued, for "
            "protocols that read it; protocol, featurizer, seeds: as counterpoint.eval.mauve_score. Returns a dictionary of "
            "mauve, mauve_sd (between seeds), mauve_star, frontier_integral, mauve_texts (on each side) and mauve_dropped (pairs).",
            features=datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")}),
        )

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        prompts: Sequence[str] | None = None,
        protocol: str = "counterpoint",
        featurizer: str | None = None,
        seeds: int = 5,
    ) -> dict[str, float | None]:
        found = mauve_score(prompts, predictions, references, protocol=protocol, featurizer=featurizer, seeds=seeds)
        return {
            "mauve": found.mauve,
            "mauve_sd": found.sd,
            "mauve_star": found.mauve_star,
            "frontier_integral": found.frontier_integral,
            "mauve_texts": found.n,
            "mauve_dropped": found.dropped,
        }
