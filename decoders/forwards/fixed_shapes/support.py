"""Whether and how a static cache takes candidates as a tree, and what is said where it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache, EncoderDecoderCache, GenerationConfig, PreTrainedModel

from counterpoint.decoders.forwards.fixed_shapes.candidates import SHOWN, StaticTreeForward
from counterpoint.decoders.forwards.lifetime import OncePerCall
from counterpoint.decoders.forwards.tree_measurement import measured
from counterpoint.decoders.forwards.tree_support import TOLERANCE, Method, call_obstacle, candidate_method, tree_arguments, windows
from counterpoint.decoders.hf.caches import CACHE, cached_length, find_cache, is_offloaded, is_static, new_cache
from counterpoint.decoders.hf.devices import ids_device
from counterpoint.decoders.hf.fixed_shapes.compiled import compiled_call
from counterpoint.decoders.hf.fixed_shapes.slots import static_room, unslottable_layers
from counterpoint.decoders.hf.unembedding import narrowed_unembedding

WAY_OUT = "leave out cache_implementation, or pass 'dynamic'"


@dataclass(frozen=True)
class StaticSpace:
    """What a call asks of fixed shapes: slots for ``room`` tokens and ``candidates``, and its empty static ``cache``."""

    cache: Cache
    room: int
    candidates: int


def static_space(
    model: PreTrainedModel, config: GenerationConfig, candidates: int, method: Method, model_kwargs: dict[str, Any]
) -> StaticSpace | None:
    """The space that the static cache of a call has; None if its cache is not static.

    Raises:
        ValueError: For static caches that cannot take candidates, with what can.
    """
    cache = find_cache(model_kwargs)
    if not config.use_cache or not isinstance(cache, Cache) or not is_static(cache):
        return None
    name = type(cache).__name__
    if isinstance(cache, EncoderDecoderCache) or is_offloaded(cache):
        raise ValueError(f"a static {name} that is offloaded or an encoder-decoder's takes no candidates; {WAY_OUT}")
    if unusual := unslottable_layers(cache):
        raise ValueError(f"{name} of {unusual} has no slots for candidates; {WAY_OUT}")
    if method == "expand":
        raise ValueError(f"candidates='expand' repeats rows, and a {name} has a fixed number of them; {WAY_OUT}")
    if held := cached_length(cache):
        raise ValueError(f"{name} holds {held} tokens already: call its reset() and pass the whole text, or pass a DynamicCache")
    longest: Any = config.max_length  # which generate always knows
    room = static_room(cache) or longest
    if longest - 1 > room:
        raise ValueError(f"{name} has room for {room} tokens, and max_length={longest} needs {longest - 1}: give it more")
    chosen, reason = candidate_method(model)
    if chosen == "expand":
        raise ValueError(f"{name} takes candidates as a tree, which {type(model).__name__} does not: {reason}; {WAY_OUT}")
    error, reason = _static_error(model)
    if not error <= TOLERANCE.get(model.dtype, 1e-1):
        raise ValueError(f"{type(model).__name__} does not give equal states with slots of a fixed number: {reason}; {WAY_OUT}")
    return StaticSpace(cache, room, candidates)


def with_growing_cache(model: PreTrainedModel, model_kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments for the prompt's forward, whose states will be moved into slots."""
    return {**model_kwargs, CACHE: new_cache(model)}


def static_forward(
    space: StaticSpace, model: PreTrainedModel, config: GenerationConfig, cache: Cache, length: int, model_kwargs: dict[str, Any]
) -> StaticTreeForward:
    """The forward for candidates in fixed shapes, compiled where ``generate`` would compile greedy search.

    Raises:
        ValueError: If something in the call cannot be spread over candidates.
    """
    if obstacle := call_obstacle(model, cache, length, model_kwargs):
        raise ValueError(f"cache_implementation='static' takes candidates as a tree, not possible here: {obstacle}; {WAY_OUT}")
    forward = StaticTreeForward(model, cache, space.room, space.candidates, *tree_arguments(cache, model_kwargs), space.cache)
    forward.compiled = compiled_call(model, config, {CACHE: forward.cache})
    if forward.compiled is not None and not _shows_last_states(model):
        raise ValueError(
            f"{type(model).__name__} does not show the hidden states that it unembeds, which compiled code has to; "
            f"pass disable_compile=True, or {WAY_OUT}"
        )
    return forward


def _measure(model: PreTrainedModel) -> tuple[float, str]:
    def make(cache: Cache, model_kwargs: dict[str, Any]) -> StaticTreeForward:
        return StaticTreeForward(model, cache, int(cache.get_seq_length()) + 3, 4, *tree_arguments(cache, model_kwargs))

    found = measured(model, "static", make, windows(model))
    return found.error, found.reason


_static_error = OncePerCall(_measure)


def _shows(model: PreTrainedModel) -> bool:
    unembedded: list[torch.Tensor] = []

    def narrow(hidden: torch.Tensor) -> torch.Tensor:
        unembedded.append(hidden)
        return hidden

    with torch.no_grad(), narrowed_unembedding(model, narrow) as narrowed, narrowed:
        output: Any = model(torch.zeros(1, 2, dtype=torch.long, device=ids_device(model)), use_cache=False, **{SHOWN: True})
    return torch.equal(output.hidden_states[-1], unembedded[0])


_shows_last_states = OncePerCall(_shows)
