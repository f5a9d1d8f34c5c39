"""What transformers' caches are called and how much text they hold, in every release that the package supports."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from transformers import Cache, EncoderDecoderCache, GenerationMixin
from transformers.generation.utils import ALL_CACHE_NAMES

CACHE = "cache" if "cache" in signature(GenerationMixin.prepare_inputs_for_generation).parameters else "past_key_values"
"""The cache's name among a model's arguments and outputs: ``cache`` since transformers 5.24, ``past_key_values`` before."""


def find_cache(mapping: Mapping[str, Any]) -> Any:
    """The cache among a model's arguments or outputs, whatever the model calls it; None if there is none."""
    return next((mapping[name] for name in ALL_CACHE_NAMES if mapping.get(name) is not None), None)


def cached_length(cache: object) -> int:
    """Tokens that a cache holds; 0 where there is none, and where all layers are recurrent, which do not count them."""
    try:
        return int(cache.get_seq_length()) if isinstance(cache, Cache) else 0
    except ValueError:
        return 0


def holds_uncounted_text(cache: object) -> bool:
    """Whether a cache of recurrent layers alone has read a text, whose length it cannot tell."""
    if not isinstance(cache, Cache) or isinstance(cache, EncoderDecoderCache):
        return False
    try:
        return cached_length(cache) == 0 and bool(cache.has_previous_state())
    except ValueError:  # layers of attention alone
        return False
