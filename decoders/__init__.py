"""Decoding methods for ``generate`` of Hugging Face transformers."""

from counterpoint.decoders.adaptive_contrastive_search import adaptive_contrastive_search
from counterpoint.decoders.contrastive_search import contrastive_search
from counterpoint.decoders.contrastive_search_processor import ContrastiveSearchLogitsProcessor
from counterpoint.decoders.export import export
from counterpoint.decoders.install import install, uninstall
from counterpoint.decoders.tree_support import candidate_method

__all__ = [
    "ContrastiveSearchLogitsProcessor",
    "adaptive_contrastive_search",
    "candidate_method",
    "contrastive_search",
    "export",
    "install",
    "uninstall",
]
