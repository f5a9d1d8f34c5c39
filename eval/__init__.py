"""Measures of generated text, the models embedded for offline use, and the command line."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoint.eval.distinct import distinct_n, hapax_n
from counterpoint.eval.frequencies import zipf
from counterpoint.eval.length import lengths, loop_share, mean_length
from counterpoint.eval.metric_modules import load_metric
from counterpoint.eval.multiple_choice import mc1, mc2, mc3
from counterpoint.eval.recent_repetition import recent_repetition
from counterpoint.eval.repetition import diversity, rep_n
from counterpoint.eval.self_bleu import self_bleu, self_bleu_of_each
from counterpoint.eval.texts import mean_over_texts

if TYPE_CHECKING:
    from counterpoint.eval.coherence import embedding_coherence, likelihood_coherence
    from counterpoint.eval.likelihoods import log_probabilities, perplexity
    from counterpoint.eval.representations import isotropy, isotropy_of_each, mean_pooling

__all__ = [
    "AMATEUR",
    "EXPERT",
    "distinct_n",
    "diversity",
    "embedding_coherence",
    "hapax_n",
    "isotropy",
    "isotropy_of_each",
    "lengths",
    "likelihood_coherence",
    "load_metric",
    "log_probabilities",
    "loop_share",
    "mc1",
    "mc2",
    "mc3",
    "mean_length",
    "mean_over_texts",
    "mean_pooling",
    "perplexity",
    "recent_repetition",
    "rep_n",
    "self_bleu",
    "self_bleu_of_each",
    "zipf",
]

EXPERT = Path(__file__).parent / "models" / "expert"
"""Folder of the embedded expert, a small English language model that loads without a network."""

AMATEUR = Path(__file__).parent / "models" / "amateur"
"""Folder of the embedded amateur: the expert's vocabulary, fewer parameters and less training."""

_NEED_TORCH = {
    "embedding_coherence": "coherence",
    "isotropy": "representations",
    "isotropy_of_each": "representations",
    "likelihood_coherence": "coherence",
    "log_probabilities": "likelihoods",
    "mean_pooling": "representations",
    "perplexity": "likelihoods",
}


def __getattr__(name: str) -> object:
    """Measures by a model, imported with torch when they are asked for, so that the command line's help does not wait for it."""
    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_NEED_TORCH[name]}"), name)
