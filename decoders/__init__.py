"""Decoding methods for ``generate`` of Hugging Face transformers."""

from counterpoint.decoders.amateurs.adapters import AdapterAmateur
from counterpoint.decoders.amateurs.anti_language_models import AntiLanguageModel, NGramAntiLanguageModel, VectorAntiLanguageModel
from counterpoint.decoders.amateurs.models import Amateur, ModelAmateur, PooledAmateur
from counterpoint.decoders.amateurs.prompts import EncoderDecoderAmateur, LastTokenAmateur, PromptAmateur
from counterpoint.decoders.base import ContrastParts, ContrastProcessor, DistributionProcessor, SideOutputs
from counterpoint.decoders.contrasts.contrastive_decoding import ContextAwareLogitsProcessor, ContrastiveDecodingLogitsProcessor
from counterpoint.decoders.contrasts.forms import (
    contrast,
    extrapolation,
    likelihood_ratio,
    log_ratio,
    plausible,
    released_induce_then_contrast,
    released_likelihood_ratio,
)
from counterpoint.decoders.contrasts.frustratingly_simple import FrustratinglySimpleLogitsProcessor
from counterpoint.decoders.contrasts.released_contrastive_decoding import ReleasedContrastiveDecodingLogitsProcessor
from counterpoint.decoders.exporting import export
from counterpoint.decoders.forwards.tree_support import candidate_method
from counterpoint.decoders.installing import install, uninstall
from counterpoint.decoders.layers.divergence import jensen_shannon, released_divergence
from counterpoint.decoders.layers.dola import DoLaLogitsProcessor
from counterpoint.decoders.layers.layer_fusion import LayerFusionLogitsProcessor
from counterpoint.decoders.layers.sled import SLEDLogitsProcessor
from counterpoint.decoders.scoring import Score, score, score_each
from counterpoint.decoders.search.adaptive_contrastive_search import adaptive_contrastive_search
from counterpoint.decoders.search.contrastive_search import contrastive_search
from counterpoint.decoders.search.contrastive_search_processor import ContrastiveSearchLogitsProcessor
from counterpoint.decoders.speculative.speculative_contrastive_decoding import speculative_contrastive_decoding

__all__ = [
    "AdapterAmateur",
    "Amateur",
    "AntiLanguageModel",
    "ContextAwareLogitsProcessor",
    "ContrastParts",
    "ContrastProcessor",
    "ContrastiveDecodingLogitsProcessor",
    "ContrastiveSearchLogitsProcessor",
    "DistributionProcessor",
    "DoLaLogitsProcessor",
    "EncoderDecoderAmateur",
    "FrustratinglySimpleLogitsProcessor",
    "LastTokenAmateur",
    "LayerFusionLogitsProcessor",
    "ModelAmateur",
    "NGramAntiLanguageModel",
    "PooledAmateur",
    "PromptAmateur",
    "ReleasedContrastiveDecodingLogitsProcessor",
    "SLEDLogitsProcessor",
    "Score",
    "SideOutputs",
    "VectorAntiLanguageModel",
    "adaptive_contrastive_search",
    "candidate_method",
    "contrast",
    "contrastive_search",
    "export",
    "extrapolation",
    "install",
    "jensen_shannon",
    "likelihood_ratio",
    "log_ratio",
    "plausible",
    "released_divergence",
    "released_induce_then_contrast",
    "released_likelihood_ratio",
    "score",
    "score_each",
    "speculative_contrastive_decoding",
    "uninstall",
]
