"""Forward passes of k candidate tokens per row, of which one is kept.

:class:`TreeForward` feeds a row's candidates as one sequence: all at the same position, each blind to the others, so that the
cache grows by k slots and shrinks by k - 1. :class:`ExpandedForward` feeds them as k rows, with ``reorder_cache`` as expand and
select: slower by the copies, right for every cache that transformers can reorder and for none at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor
from transformers import Cache, PreTrainedModel

from counterpoint.decoders.hf.caches import (
    CACHE,
    cached_length,
    drop_last,
    is_croppable,
    sliding_windows,
    start_recording,
    states_along_text,
    stop_recording,
    text_cache,
)
from counterpoint.decoders.hf.devices import ids_device
from counterpoint.decoders.hf.fixed_shapes.compiled import is_compiled
from counterpoint.decoders.hf.outputs import ModelOutput
from counterpoint.decoders.hf.steps import after_forward, next_inputs, repeated
from counterpoint.decoders.hf.unembedding import narrowed_unembedding
from counterpoint.decoders.kernels.grouped_attention import grouped_attention
from counterpoint.decoders.kernels.skinny_linear import SkinnyLinears
from counterpoint.decoders.undoing import together

Choose = Callable[[Float[Tensor, "rows k hidden"]], Int[Tensor, "rows"]]
"""Maps the candidates' last hidden states to the index of the candidate to keep in each row."""


@runtime_checkable
class CandidateForward(Protocol):
    """One forward pass over candidates, bound to a model and a cache."""

    def __call__(
        self, input_ids: Int[Tensor, "rows length"], candidates: Int[Tensor, "rows k"], choose: Choose
    ) -> tuple[Int[Tensor, "rows"], ModelOutput]:
        """Continue ``input_ids`` by every candidate, keep the chosen ones; gives what was chosen and its model output."""

    def finish(self) -> Cache | None:
        """The cache, one row per sequence and without the last token, as ``generate`` leaves it; None where that is lost."""


def keep_chosen(output: ModelOutput, pick: Callable[[Tensor], Tensor]) -> ModelOutput:
    """``output`` with hidden states and attentions reduced by ``pick`` to the chosen candidate's."""
    for name in ("hidden_states", "attentions", "decoder_hidden_states", "decoder_attentions", "cross_attentions"):
        if output.get(name) is not None:
            output[name] = tuple(layer if layer is None else pick(layer) for layer in output[name])
    return output


class TreeForward:
    """k candidates of a row as k positions of one sequence (a tree of depth one), one slot of the cache kept.

    Query ``i`` sees the row's context and itself: an additive mask ``[rows, 1, k, length + k]`` of zeros and the dtype's lowest
    number, kept in a buffer of which a step writes k + 1 columns.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        cache: Cache,
        position: Num[Tensor, "*axes rows"],
        seen: Bool[Tensor, "rows length"] | None,
        types: dict[str, Int[Tensor, "rows 1"]],
        options: dict[str, Any],
    ) -> None:
        self.model: Any = model  # transformers leaves the methods that generation adds untyped
        self.config = model.config.get_text_config(decoder=True)
        self.compiled = is_compiled(model)
        self.cache, self.types, self.options = cache, types, options
        self.position = position  # several axes where pictures have height and width; some families count in floats
        self.length = cache.get_seq_length()
        self.slots = 0  # candidates of the last forward still in the cache
        self.kept = 0  # whether one of them is part of the text
        self.rows = torch.arange(position.shape[-1], device=position.device)
        self.hidden = torch.finfo(model.dtype).min
        shape = (1 if seen is None else seen.shape[0], 1, 0, self.length)
        self.mask = torch.zeros(shape, dtype=model.dtype, device=position.device)
        self.padding = None if seen is None else ~seen[:, None, None, :]
        self.windows = sliding_windows(cache)
        start_recording(cache)
        self.skinny = SkinnyLinears(model, but=model.get_output_embeddings())  # the head is given the chosen candidate alone

    def __call__(
        self, input_ids: Int[Tensor, "rows length"], candidates: Int[Tensor, "rows k"], choose: Choose
    ) -> tuple[Int[Tensor, "rows"], ModelOutput]:
        """See :class:`CandidateForward`."""
        k = candidates.shape[1]
        drop_last(self.cache, self.slots - self.kept)
        chosen = self.rows

        def narrow(hidden: Tensor) -> Tensor:
            nonlocal chosen
            if hidden.shape[1] != k:
                raise ValueError(f"{type(self.model).__name__} unembeds {hidden.shape[1]} of {k} candidates")
            chosen = choose(hidden)
            return hidden[self.rows.to(hidden.device), chosen.to(hidden.device)].unsqueeze(1)

        faster = together(grouped_attention(self.config), self.skinny(k))
        with together(narrowed_unembedding(self.model, narrow, self.compiled), faster) as step, step:
            output: ModelOutput = self.model(
                input_ids=candidates,
                attention_mask=self._masks(k),
                position_ids=self.position[..., None].expand(*self.position.shape, k),
                use_cache=True,
                return_dict=True,
                **{name: kind.expand(-1, k) for name, kind in self.types.items()},
                **{CACHE: self.cache, **self.options},
            )
        self._keep(k, chosen)
        return chosen, keep_chosen(output, lambda layer: self._pick(layer, k, chosen))

    def finish(self) -> Cache:
        """See :class:`CandidateForward`."""
        drop_last(self.cache, self.slots)
        stop_recording(self.cache)
        return self.cache

    def _masks(self, k: int) -> Tensor | dict[str, Tensor]:
        """The mask of this step, per kind of layer where the cache has both kinds."""
        end = self.length + k
        if self.mask.shape[2] < k or self.mask.shape[3] < end:
            self._grow(k, end)
        self.mask[..., self.length : end].fill_(self.hidden)
        self.mask[..., self.length : end].diagonal(dim1=2, dim2=3).fill_(0)
        mask = self.mask[:, :, :k, :end]
        by_window = {
            window: mask if window is None else mask[..., -(min(self.length, window - 1) + k) :] for window in self.windows
        }
        if len(by_window) == 1:
            return next(iter(by_window.values()))
        return {"full_attention" if window is None else "sliding_attention": part for window, part in by_window.items()}

    def _grow(self, k: int, end: int) -> None:
        """A buffer with room for twice the length; every column before the candidates is as the padding says."""
        shape = (self.mask.shape[0], 1, max(k, self.mask.shape[2]), 2 * end)
        self.mask = torch.zeros(shape, dtype=self.mask.dtype, device=self.mask.device)
        if self.padding is not None:
            self.mask[..., : self.padding.shape[-1]].masked_fill_(self.padding, self.hidden)

    def _keep(self, k: int, chosen: Int[Tensor, "rows"]) -> None:
        """Move every row's chosen candidate into the first of the k new slots; the others go before the next forward."""
        single = int(chosen) if len(chosen) == 1 else None
        for states in states_along_text(self.cache) if k > 1 and single != 0 else []:
            first = states.shape[-2] - k
            if single is not None:  # plain slices are several times faster than indices
                states[..., first, :] = states[..., first + single, :]
            else:
                states[..., first, :] = states[self.rows.to(states.device), ..., first + chosen.to(states.device), :]
        self.mask[..., self.length] = 0
        self.slots, self.kept = k, 1
        self.length += 1
        self.position = self.position + 1

    def _pick(self, layer: Tensor, k: int, chosen: Int[Tensor, "rows"]) -> Tensor:
        """The chosen candidate's ``[rows, 1, hidden]`` or ``[rows, heads, 1, context + 1]`` of a layer's output."""
        rows, chosen = self.rows.to(layer.device), chosen.to(layer.device)
        if layer.ndim == 3:
            return layer[rows, chosen].unsqueeze(1)
        attended = layer[rows, :, chosen]
        own = attended[rows, :, attended.shape[-1] - k + chosen]
        return torch.cat([attended[..., :-k], own[..., None]], dim=-1).unsqueeze(2)


class ExpandedForward:
    """k candidates of a row as k rows, the chosen row kept: ``reorder_cache`` selects and expands in one go.

    Without a cache every candidate's whole sequence is computed anew.
    """

    def __init__(self, model: PreTrainedModel, cache: Cache | None, model_kwargs: dict[str, Any], rows: int, length: int) -> None:
        self.model: Any = model
        self.cache: Any = cache
        self.model_kwargs = model_kwargs
        self.chosen_rows = torch.arange(rows, device=ids_device(model))
        self.steps = 0
        counted = cache is not None and is_croppable(cache) and cached_length(text_cache(cache)) == length
        self.text_cache = text_cache(cache) if cache is not None and counted else None
        if self.text_cache is not None:
            start_recording(self.text_cache)

    def __call__(
        self, input_ids: Int[Tensor, "rows length"], candidates: Int[Tensor, "rows k"], choose: Choose
    ) -> tuple[Int[Tensor, "rows"], ModelOutput]:
        """See :class:`CandidateForward`."""
        rows, k = candidates.shape
        if self.text_cache is not None:
            drop_last(self.text_cache, 0)
        if self.cache is not None:
            self.cache.reorder_cache(self.chosen_rows.repeat_interleave(k))
        ids, kwargs = repeated(self.model, k, input_ids, self.model_kwargs)
        ids = torch.cat([ids, candidates.reshape(-1, 1)], dim=1)
        inputs = next_inputs(self.model, ids, self.cache is not None, kwargs)
        chosen = self.chosen_rows

        def narrow(hidden: Tensor) -> Tensor:
            nonlocal chosen
            hidden = hidden[:, -1].unflatten(0, (rows, k))
            chosen = choose(hidden)
            return hidden[torch.arange(rows, device=hidden.device), chosen.to(hidden.device)].unsqueeze(1)

        with narrowed_unembedding(self.model, narrow) as narrowed, narrowed:
            output: ModelOutput = self.model(**inputs, return_dict=True)
        self.chosen_rows = torch.arange(rows, device=chosen.device) * k + chosen
        self.model_kwargs = after_forward(self.model, output, self.model_kwargs)
        self.steps += 1
        return chosen, keep_chosen(output, lambda layer: layer[self.chosen_rows.to(layer.device)])

    def finish(self) -> Cache | None:
        """See :class:`CandidateForward`."""
        cache: Cache | None = self.cache
        if cache is None:
            return None
        self.cache.reorder_cache(self.chosen_rows)
        if self.text_cache is None:
            return None
        drop_last(self.text_cache, min(self.steps, 1))
        stop_recording(self.text_cache)
        return cache
