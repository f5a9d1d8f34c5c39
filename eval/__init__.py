"""Measures of generated text, the models embedded for offline use, and the command line.

A measure is one figure for all texts; ``lengths``, ``log_probabilities`` and what ends in ``_of_each`` give a value for each text,
whose mean is :func:`mean_over_texts`. Shares are fractions; tables print some of them in percent.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from counterpoint.eval.embedded import AMATEUR, EXPERT
from counterpoint.eval.metrics.distinct import distinct_n, hapax_n
from counterpoint.eval.metrics.frequencies import zipf
from counterpoint.eval.metrics.length import lengths, loop_share, mean_length
from counterpoint.eval.metrics.metric_modules import load_metric
from counterpoint.eval.metrics.recent_repetition import recent_repetition_of_each
from counterpoint.eval.metrics.repetition import diversity, rep_n
from counterpoint.eval.metrics.self_bleu import self_bleu, self_bleu_of_each
from counterpoint.eval.metrics.texts import mean_over_texts
from counterpoint.eval.questions.multiple_choice import mc1, mc2, mc3

if TYPE_CHECKING:
    from counterpoint.eval.metrics.coherence import embedding_coherence_of_each, likelihood_coherence_of_each
    from counterpoint.eval.metrics.likelihoods import log_probabilities, perplexity
    from counterpoint.eval.metrics.mauve import mauve_score
    from counterpoint.eval.metrics.representations import isotropy, isotropy_of_each, mean_pooling

__all__ = [
    "AMATEUR",
    "EXPERT",
    "distinct_n",
    "diversity",
    "embedding_coherence_of_each",
    "hapax_n",
    "isotropy",
    "isotropy_of_each",
    "lengths",
    "likelihood_coherence_of_each",
    "load_metric",
    "log_probabilities",
    "loop_share",
    "mauve_score",
    "mc1",
    "mc2",
    "mc3",
    "mean_length",
    "mean_over_texts",
    "mean_pooling",
    "perplexity",
    "recent_repetition_of_each",
    "rep_n",
    "self_bleu",
    "self_bleu_of_each",
    "zipf",
]

_NEED_TORCH = {
    "embedding_coherence_of_each": "metrics.coherence",
    "isotropy": "metrics.representations",
    "isotropy_of_each": "metrics.representations",
    "likelihood_coherence_of_each": "metrics.coherence",
    "log_probabilities": "metrics.likelihoods",
    "mauve_score": "metrics.mauve",
    "mean_pooling": "metrics.representations",
    "perplexity": "metrics.likelihoods",
}


def __getattr__(name: str) -> object:
    """Measures by a model, imported with torch when they are asked for, so that the command line's help does not wait for it."""
    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_NEED_TORCH[name]}"), name)
