"""What transformers' caches are called, how much text they hold and what their layers can do, in every supported release."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, EncoderDecoderCache, GenerationMixin, PreTrainedModel, cache_utils
from transformers.cache_utils import DynamicIndexedLayer, DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionLayer, StaticLayer
from transformers.generation.utils import ALL_CACHE_NAMES

CACHE = "cache" if "cache" in signature(GenerationMixin.prepare_inputs_for_generation).parameters else "past_key_values"
"""The cache's name among a model's arguments and outputs: ``cache`` since transformers 5.24, ``past_key_values`` before."""

CACHE_ARGUMENTS = (CACHE, "cache_params")
"""The arguments that take a :class:`~transformers.Cache`; Mamba has a name of its own before transformers 5.24."""

CACHE_NAMES = tuple(ALL_CACHE_NAMES)
"""All names that some model has for its cache."""

QuantisedLayer: type = getattr(cache_utils, "BaseQuantizedLayer", cache_utils.QuantizedLayer)
"""Layers of quantised states: ``BaseQuantizedLayer`` since transformers 5.21, ``QuantizedLayer`` before."""


EmptyLayer: type | None = getattr(cache_utils, "DummyLayer", None)
"""Layers that keep nothing, having no attention or using another layer's keys and values; older releases have none."""


def cache_argument(model: PreTrainedModel) -> str | None:
    """The argument by which the forward of ``model`` takes its cache; None if it takes none, or none of transformers' own."""
    generative: Any = model
    if not generative._supports_default_dynamic_cache():
        return None
    parameters = signature(model.forward).parameters
    return next((name for name in CACHE_ARGUMENTS if name in parameters), None)


def new_cache(model: PreTrainedModel) -> DynamicCache:
    """An empty cache for ``model``, of the kind that ``generate`` makes."""
    return DynamicCache(config=model.config.get_text_config(decoder=True))


def unwindowed_cache() -> DynamicCache:
    """An empty cache whose layers keep every token, those with a sliding window too: masks alone then make the window."""
    return DynamicCache()


def _windows_slide_while_recording() -> bool:
    """Whether a layer that records hands on as many keys as the mask will have, after two forwards in a row."""
    layer = DynamicSlidingWindowLayer(2)
    layer.activate_past_recording()
    three = torch.zeros(1, 1, 3, 1)
    layer.update(three, three)
    length, _ = layer.get_mask_sizes(1)
    return bool(layer.update(three[:, :, :1], three[:, :, :1])[0].shape[2] == length)


WINDOWS_SLIDE = _windows_slide_while_recording()
"""True since transformers 5.18."""


def rewindable_cache(model: PreTrainedModel) -> DynamicCache:
    """An empty cache for ``model`` that can take several forwards in a row before some of their tokens are dropped.

    Before transformers 5.18 layers with a window cannot while they record, and keep every token instead.
    """
    return new_cache(model) if WINDOWS_SLIDE else unwindowed_cache()


def is_own_kind(cache: Cache) -> bool:
    """Whether a family has written the class itself (MiniMax), so that nobody else knows what all it holds."""
    parts = [cache.self_attention_cache, cache.cross_attention_cache] if isinstance(cache, EncoderDecoderCache) else [cache]
    return any(type(part).__module__ != cache_utils.__name__ for part in parts)


def without_cache(model_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments without a cache, so that the model computes the whole text anew."""
    return {name: value for name, value in model_kwargs.items() if name not in CACHE_NAMES} | {"use_cache": False}


def find_cache(mapping: Mapping[str, Any]) -> Any:
    """The cache among a model's arguments or outputs, whatever the model calls it; None if there is none."""
    return next((mapping[name] for name in CACHE_NAMES if mapping.get(name) is not None), None)


def cached_length(cache: object) -> int:
    """The number of tokens that a cache holds; 0 without a cache, and where all layers are recurrent, since those do not count."""
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
    except ValueError:  # raised where all layers are attention
        return False


def is_filled(cache: Cache) -> bool:
    """Whether the model has put a text into the cache; some take one and leave it as it is."""
    return cached_length(text_cache(cache)) > 0 or holds_uncounted_text(cache)


def text_cache(cache: Cache) -> Cache:
    """The part of a cache that grows with the decoder's text."""
    return cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache


def sliding_windows(cache: Cache | None) -> set[int | None]:
    """The sliding windows of a cache's layers, None for layers without one."""
    layers = [] if cache is None else [layer for layer in cache.layers if not is_empty(layer)]
    return {layer.sliding_window if isinstance(layer, DynamicSlidingWindowLayer) else None for layer in layers} or {None}


def lost_tokens(cache: Cache) -> bool:
    """Whether a full sliding window has dropped earlier tokens."""
    return any(
        isinstance(layer, DynamicSlidingWindowLayer) and layer.cumulative_length >= layer.sliding_window for layer in cache.layers
    )


def is_recurrent(cache: Cache) -> bool:
    """Whether some layers keep a recurrent state. It goes on by one token at a time: some families take several for a new text."""
    return any(isinstance(layer, LinearAttentionLayer) for layer in cache.layers)


def has_no_keys(cache: Cache) -> bool:
    """Whether all layers keep a recurrent state and no keys, so that a mask of earlier padding means nothing to them."""
    return all(type(layer) is LinearAttentionLayer for layer in cache.layers)


def is_croppable(cache: Cache) -> bool:
    """Whether every layer can drop its last tokens and be as it was; transformers says so itself since 5.17."""
    return not any(
        isinstance(layer, StaticLayer | QuantisedLayer) or (isinstance(layer, LinearAttentionLayer) and not _is_convolution(layer))
        for layer in text_cache(cache).layers
    )


def _is_convolution(layer: LinearAttentionLayer) -> bool:
    """Whether a layer keeps nothing but its last inputs."""
    return any(layer.is_conv_states_initialized.values()) and not any(layer.is_recurrent_states_initialized.values())


def is_offloaded(cache: Cache) -> bool:
    """Whether layers' states lie on another device until they are needed."""
    return bool(cache.offloading)


def is_static(cache: Cache) -> bool:
    """Whether some layers have a fixed number of slots."""
    return any(isinstance(layer, StaticLayer) for layer in _all_layers(cache))


def is_quantised(cache: Cache) -> bool:
    """Whether some layers keep states in fewer bits."""
    return any(isinstance(layer, QuantisedLayer) for layer in _all_layers(cache))


def _all_layers(cache: Cache) -> list[Any]:
    caches = [cache.self_attention_cache, cache.cross_attention_cache] if isinstance(cache, EncoderDecoderCache) else [cache]
    return [layer for part in caches for layer in part.layers]


def unusual_layers(cache: Cache) -> str:
    """The names of the kinds of layers that are not growing attention, with or without a window; "" if there are none."""
    kinds: set[Any] = {type(layer) for layer in cache.layers if not is_empty(layer)} or {cache.layer_class_to_replicate}
    return ", ".join(sorted(kind.__name__ for kind in kinds - {DynamicLayer, DynamicSlidingWindowLayer, DynamicIndexedLayer}))


def states_along_text(cache: Cache) -> list[Tensor]:
    """All layers' states that have a slot for each token, ``[rows, ..., length, width]``; writing to them writes to the cache."""
    layers = _layers_read(cache)
    states = [state for layer in layers for state in (layer.keys, layer.values)]
    return states + [layer.indexer_keys for layer in layers if _has_indexer_keys(layer)]


def read_states(cache: Cache) -> list[Tensor]:
    """The keys and values ``[rows, ..., length, width]`` of all layers that have read something."""
    return [state for layer in _layers_read(cache) for state in (layer.keys, layer.values)]


def put_states(cache: Cache, states: list[Tensor]) -> None:
    """Put keys and values, perhaps of other rows and lengths, in the places of those that :func:`read_states` gave."""
    for layer, keys, values in zip(_layers_read(cache), states[::2], states[1::2], strict=True):
        layer.keys, layer.values = keys, values


def _layers_read(cache: Cache) -> list[Any]:
    layers: list[Any] = cache.layers
    return [layer for layer in layers if layer.is_initialized and not is_empty(layer)]


def has_windows_at_most(cache: Cache) -> bool:
    """Whether every layer keeps keys and values and nothing else, with or without a window."""
    return all(is_empty(layer) or type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers)


def lengthen(cache: Cache, more_keys: Callable[[Tensor], Tensor], more_values: Callable[[Tensor], Tensor]) -> None:
    """Let every layer go on with states made of those that it has, as if the model had read more tokens."""
    for layer in _layers_read(cache):
        layer.update(more_keys(layer.keys), more_values(layer.values))
        if _has_indexer_keys(layer):
            layer.update_indexer(more_keys(layer.indexer_keys))


def _has_indexer_keys(layer: Any) -> bool:
    """Whether the layer chooses the tokens it attends to by keys of their own; in HY V4 some layers take another's choice."""
    return isinstance(layer, DynamicIndexedLayer) and layer.is_indexer_initialized


def is_empty(layer: object) -> bool:
    """Whether a layer keeps nothing."""
    return EmptyLayer is not None and isinstance(layer, EmptyLayer)


def start_recording(cache: Cache) -> None:
    """Let the layers keep what they would forget, so that tokens can be dropped again."""
    cache.activate_past_recording()


def drop_last(cache: Cache, tokens: int) -> None:
    """Drop the last ``tokens`` tokens and what the layers recorded for that; 0 drops only what they recorded.

    Layers that hold nothing are skipped: T5 has some before transformers 5.22, and they cannot be cropped.
    """
    layers: list[Any] = text_cache(cache).layers
    for layer in layers:
        if not isinstance(layer, DynamicLayer) or layer.is_initialized:
            layer.crop(-tokens)


def stop_recording(cache: Cache) -> None:
    """Undo :func:`start_recording`, so that the cache is as transformers leaves it."""
    for layer in cache.layers:
        if isinstance(layer, DynamicSlidingWindowLayer | LinearAttentionLayer):
            layer.record_past = False
