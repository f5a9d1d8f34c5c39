"""Decoding methods for ``generate`` of Hugging Face transformers."""

from counterpoint.decoders.adapters import AdapterAmateur
from counterpoint.decoders.adaptive_contrastive_search import adaptive_contrastive_search
from counterpoint.decoders.amateurs import Amateur, ModelAmateur, PooledAmateur
from counterpoint.decoders.anti_language_models import AntiLanguageModel, NGramAntiLanguageModel, VectorAntiLanguageModel
from counterpoint.decoders.contrast import (
    contrast,
    extrapolation,
    likelihood_ratio,
    log_ratio,
    plausible,
    released_induce_then_contrast,
    released_likelihood_ratio,
)
from counterpoint.decoders.contrastive_decoding import ContextAwareLogitsProcessor, ContrastiveDecodingLogitsProcessor
from counterpoint.decoders.contrastive_search import contrastive_search
from counterpoint.decoders.contrastive_search_processor import ContrastiveSearchLogitsProcessor
from counterpoint.decoders.divergence import jensen_shannon, released_divergence
from counterpoint.decoders.dola import DoLaLogitsProcessor
from counterpoint.decoders.export import export
from counterpoint.decoders.frustratingly_simple import FrustratinglySimpleLogitsProcessor
from counterpoint.decoders.install import install, uninstall
from counterpoint.decoders.layer_fusion import LayerFusionLogitsProcessor
from counterpoint.decoders.prompt_amateurs import EncoderDecoderAmateur, LastTokenAmateur, PromptAmateur
from counterpoint.decoders.released_contrastive_decoding import ReleasedContrastiveDecodingLogitsProcessor
from counterpoint.decoders.scoring import Score, score, score_each
from counterpoint.decoders.sled import SLEDLogitsProcessor
from counterpoint.decoders.speculative import speculative_contrastive_decoding
from counterpoint.decoders.tree_support import candidate_method

__all__ = [
    "AdapterAmateur",
    "Amateur",
    "AntiLanguageModel",
    "ContextAwareLogitsProcessor",
    "ContrastiveDecodingLogitsProcessor",
    "ContrastiveSearchLogitsProcessor",
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
