"""Embedding coherence as a metric of the ``evaluate`` library; :func:`counterpoint.eval.load_metric` loads it."""

# evaluate copies this file and reads its imports line by line: one import a line
from typing import Any

import datasets
import evaluate

from counterpoint.eval import embedding_coherence_of_each, mean_over_texts


class EmbeddingCoherence(evaluate.Metric):  # type: ignore[misc] # evaluate has no types
    """The mean of :func:`counterpoint.eval.embedding_coherence_of_each` over predictions, the references being their prompts."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=embedding_coherence_of_each.__doc__,
            citation="Li et al. (2022), Contrastive Decoding: Open-ended Text Generation as Optimization, arXiv 2210.15097",
            inputs_description="predictions: generated texts; references: their prompts; embed: a function from texts to vectors. "
            "Returns a dictionary with embedding_coherence, a cosine.",
            features=datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")}),
        )

    def _compute(self, predictions: list[str], references: list[str], embed: Any) -> dict[str, float]:
        return {"embedding_coherence": mean_over_texts(embedding_coherence_of_each(embed, references, predictions))}
