"""Perplexity as a metric of the ``evaluate`` library; :func:`counterpoint.eval.load_metric` loads it."""

# evaluate copies this file and reads its imports line by line: one import a line
from typing import Any

import datasets
import evaluate

from counterpoint.eval import perplexity


class Perplexity(evaluate.Metric):  # type: ignore[misc] # evaluate has no types
    """:func:`counterpoint.eval.perplexity` of the predictions after the references, their prompts."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=perplexity.__doc__,
            citation="Pillutla et al. (2021), MAUVE: Measuring the Gap Between Neural Text and Human Text, arXiv 2102.01454",
            inputs_description="predictions: generated texts; references: their prompts; model, tokenizer: a causal "
            "language model. Returns a dictionary with perplexity.",
            features=datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")}),
        )

    def _compute(self, predictions: list[str], references: list[str], model: Any, tokenizer: Any) -> dict[str, float]:
        return {"perplexity": perplexity(model, tokenizer, references, predictions)}
