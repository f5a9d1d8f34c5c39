"""Whether a model can take k candidates as one tree-masked sequence, and the way its candidates are therefore computed.

The choice rests on a measurement on the very model. What is known to be wrong and may not show on short texts is listed.
"""

from __future__ import annotations

from functools import partial
from inspect import signature
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import Cache, EncoderDecoderCache, PreTrainedModel

from counterpoint.decoders.forwards.candidates import CandidateForward, ExpandedForward, TreeForward
from counterpoint.decoders.forwards.lifetime import OncePerCall
from counterpoint.decoders.forwards.tree_measurement import measured
from counterpoint.decoders.hf.attention import attention_name
from counterpoint.decoders.hf.caches import cache_argument, is_offloaded, new_cache, sliding_windows, unusual_layers
from counterpoint.decoders.hf.configuration import context_length
from counterpoint.decoders.hf.model_inputs import TEXT, TOKEN_TYPES, saying_something
from counterpoint.decoders.hf.wrappers import Model, plain_model

Method = Literal["auto", "tree", "expand"]

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 5e-2}
"""Largest relative difference of hidden states that rounding explains, by dtype; 0.1 in others."""

MASKED_LAYERS = {"full_attention", "sliding_attention", "indexed_attention", "moe", "mlp"}
"""Kinds of layers that see what a mask says, or no other token at all."""

LONGEST = 1024
"""The widest window whose other side is measured; wider ones are trusted where the cache itself holds them."""


def candidate_method(model: Model) -> tuple[Method, str]:
    """How contrastive search computes candidates on ``model`` by default, and why.

    Gives ``("tree", reason)``, one sequence per row and one slot of the cache kept, or ``("expand", reason)``, k rows with
    ``reorder_cache`` as expand and select. ``generate(custom_generate=contrastive_search, candidates="tree")`` asks for the tree
    by name: it is refused with a ``ValueError`` if this model does not give the same hidden states that way.

    Example:
        >>> from transformers import AutoModelForCausalLM
        >>> from counterpoint.decoders import candidate_method
        >>> from counterpoint.eval import AMATEUR
        >>> candidate_method(AutoModelForCausalLM.from_pretrained(AMATEUR))[0]
        'tree'
    """
    return _candidate_method(plain_model(model))


def choose(model: PreTrainedModel) -> tuple[Method, str]:
    """The tree where nothing is known against it and a measurement finds it equal."""
    obstacle = known_obstacle(model)
    if obstacle is None:
        measurement = measured(model, "growing", partial(tree_forward, model), windows(model))
        obstacle = None if measurement.error <= TOLERANCE.get(model.dtype, 1e-1) else measurement.reason
    return ("expand", obstacle) if obstacle else ("tree", "the tree was measured to be equal on this model")


_candidate_method = OncePerCall(choose)


def known_obstacle(model: PreTrainedModel) -> str | None:
    """What is known to make a tree wrong where a measurement on short texts may not show it, or None."""
    config = model.config.get_text_config(decoder=True)
    if model.config.is_encoder_decoder:
        return "encoder-decoder models take no tree mask over decoder positions"
    if attention_name(config) not in ("sdpa", "eager"):
        return f"{attention_name(config)} takes no additive mask"
    if "position_ids" not in signature(model.forward).parameters:
        return f"{type(model).__name__} takes no position_ids"
    if cache_argument(model) is None:
        return f"{type(model).__name__} takes no cache of transformers' own"
    if others := sorted(set(getattr(config, "layer_types", None) or ()) - MASKED_LAYERS):
        return f"its layers of {', '.join(others)} see other tokens than a mask says"
    cache = new_cache(model)
    if unusual := unusual_layers(cache):
        return f"a cache of {unusual} cannot keep one of several slots"
    if wide := {window for window in _windows(model) if window > LONGEST} - sliding_windows(cache):
        return f"a window of {max(wide)} tokens is not one that its cache holds, and too wide to be measured"
    return None


def windows(model: PreTrainedModel) -> list[int]:
    """The numbers of tokens in the configuration after which a layer may look at fewer of them, as far as they can be measured."""
    return [window for window in _windows(model) if window <= LONGEST]


def _windows(model: PreTrainedModel) -> list[int]:
    settings, room = model.config.get_text_config(decoder=True).to_dict(), context_length(model)
    named = [value for name, value in settings.items() if any(part in name for part in ("window", "chunk", "local", "index_topk"))]
    return [value for value in named if isinstance(value, int) and 1 < value < (room or value + 1)]


def cache_obstacle(cache: Cache | None, length: int) -> str | None:
    """Why the tree cannot use this ``cache`` of a text of ``length`` positions, or None."""
    if cache is None:
        return "there is no cache"
    if isinstance(cache, EncoderDecoderCache) or is_offloaded(cache):
        return f"{type(cache).__name__} cannot keep one of several slots"
    if unusual := unusual_layers(cache):
        return f"a cache of {unusual} cannot keep one of several slots"
    if len(sliding_windows(cache) - {None}) > 1:
        return "the layers' sliding windows differ"
    if cache.get_seq_length() != length:
        return f"the cache holds {cache.get_seq_length()} positions of {length}"
    return None


def candidate_forward(
    method: Method, model: PreTrainedModel, cache: Cache | None, length: int, rows: int, model_kwargs: dict[str, Any]
) -> CandidateForward:
    """The forward for candidates that follow ``length`` positions held by ``cache``, by the named method or the best one.

    ``model_kwargs`` are those of ``generate`` after the prefill. Raises ``ValueError`` where ``method="tree"`` cannot be right.
    """
    if method == "auto" or method == "tree":
        obstacle = call_obstacle(model, cache, length, model_kwargs)
        if obstacle is None and cache is not None:
            return tree_forward(model, cache, model_kwargs)
        if method == "tree":
            raise ValueError(f"candidates='tree' is not possible here: {obstacle}; use candidates='auto' or 'expand'")
    return ExpandedForward(model, cache, model_kwargs, rows, length)


def call_obstacle(model: PreTrainedModel, cache: Cache | None, length: int, model_kwargs: dict[str, Any]) -> str | None:
    """Why the tree cannot be right after this prefill, or None."""
    extra = sorted(saying_something(model, model_kwargs).keys() - TEXT - {*OPTIONS, *TOKEN_TYPES})
    obstacle = f"{', '.join(extra)} cannot be spread over candidates" if extra else cache_obstacle(cache, length)
    if obstacle is None and model_kwargs.get("position_ids") is None:
        obstacle = f"{type(model).__name__} takes no position_ids"
    if obstacle is None and sliding_windows(cache) != sliding_windows(new_cache(model)):
        obstacle = f"{type(cache).__name__} was made without the model's config, and does not know the layers' sliding windows"
    if obstacle is None:
        chosen, reason = candidate_method(model)
        obstacle = reason if chosen == "expand" else None
    return obstacle


OPTIONS = ("logits_to_keep", "output_hidden_states", "output_attentions")


def tree_forward(model: PreTrainedModel, cache: Cache, model_kwargs: dict[str, Any]) -> TreeForward:
    """The tree over ``cache``, from the ``model_kwargs`` that ``generate`` keeps after the prefill."""
    return TreeForward(model, cache, *tree_arguments(cache, model_kwargs))


def tree_arguments(cache: Cache, model_kwargs: dict[str, Any]) -> tuple[Tensor, Tensor | None, dict[str, Tensor], dict[str, Any]]:
    """Position of the next token, the prompt's tokens that are no padding, token types and options of every forward."""
    mask = model_kwargs.get("attention_mask")
    seen = None if mask is None else mask[:, : cache.get_seq_length()].bool()
    options = {name: model_kwargs[name] for name in OPTIONS if name in model_kwargs}
    if "logits_to_keep" in options:
        options["logits_to_keep"] = 0  # all candidates reach the unembedding, which is then narrowed to the chosen one
    types = {name: model_kwargs[name][:, -1:] for name in TOKEN_TYPES if model_kwargs.get(name) is not None}
    return model_kwargs["position_ids"][..., -1], seen, types, options
