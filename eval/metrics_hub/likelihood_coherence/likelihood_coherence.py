"""Likelihood coherence as a metric of the ``evaluate`` library; :func:`counterpoint.eval.load_metric` loads it."""

# evaluate copies this file and reads its imports line by line: one import a line
from typing import Any

import datasets
import evaluate

from counterpoint.eval import likelihood_coherence_of_each, mean_over_texts


class LikelihoodCoherence(evaluate.Metric):  # type: ignore[misc] # evaluate has no types
    """The mean of :func:`counterpoint.eval.likelihood_coherence_of_each` over predictions, the references being their prompts."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=likelihood_coherence_of_each.__doc__,
            citation="Su and Xu (2022), An Empirical Study On Contrastive Search And Contrastive Decoding, arXiv 2211.10797",
            inputs_description="predictions: generated texts; references: their prompts; model, tokenizer: a causal "
            "language model. Returns a dictionary with likelihood_coherence, nats a token.",
            features=datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")}),
        )

    def _compute(self, predictions: list[str], references: list[str], model: Any, tokenizer: Any) -> dict[str, float]:
        return {"likelihood_coherence": mean_over_texts(likelihood_coherence_of_each(model, tokenizer, references, predictions))}
