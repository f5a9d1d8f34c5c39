"""The tree of candidates at fixed shape, for static caches and compiled models.

Every forward has the same k queries, the same slots (:mod:`counterpoint.decoders.hf.fixed_shapes.slots`) and the same masks in
the same places, of which a step writes one column. Nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Int, Num
from torch import Tensor
from transformers import Cache, PreTrainedModel

from counterpoint.decoders.forwards.candidates import Choose, keep_chosen
from counterpoint.decoders.hf.caches import CACHE
from counterpoint.decoders.hf.fixed_shapes.slots import fill_static, rooms, slotted
from counterpoint.decoders.hf.outputs import ModelOutput
from counterpoint.decoders.hf.unembedding import narrowed_unembedding

SHOWN = "output_hidden_states"


class StaticTreeForward:
    """k candidates of a row as the last k slots of a cache of fixed shape; see ``TreeForward``.

    Args:
        model: The model.
        cache: The growing cache of the prompt, which is emptied.
        room: Tokens for which there will be slots.
        candidates: The largest number of candidates; steps with fewer repeat their last one.
        position: Position of the next token of each row.
        seen: Which slots of the prompt are tokens rather than padding; None where all are.
        types: Token types of the next token, by the name of the argument.
        options: Further arguments of every forward.
        static: The empty static cache that gets the text in the end; None if nobody wants it.
        compiled: The compiled call of the model, whose hidden states are then those that it returns; None for the model as it
            is, of which the chosen candidates alone are unembedded.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        cache: Cache,
        room: int,
        candidates: int,
        position: Num[Tensor, "*axes rows"],
        seen: Bool[Tensor, "rows length"] | None,
        types: dict[str, Int[Tensor, "rows 1"]],
        options: dict[str, Any],
        static: Cache | None = None,
        compiled: Callable[..., Any] | None = None,
    ) -> None:
        self.model: Any = model
        self.position = position.contiguous()  # as all later ones are, since graphs hold for strides too
        self.types, self.options, self.compiled = types, options, compiled
        self.candidates, self.static = candidates, static
        self.length = int(cache.get_seq_length())
        self.rows = torch.arange(position.shape[-1], device=position.device)
        self.cache, self.moves = slotted(cache, room, candidates)
        self.rooms = rooms(self.cache)
        self.masks = self._masks(seen, model.dtype)

    def __call__(
        self, input_ids: Int[Tensor, "rows length"], candidates: Int[Tensor, "rows k"], choose: Choose
    ) -> tuple[Int[Tensor, "rows"], ModelOutput]:
        """See :class:`~counterpoint.decoders.forwards.candidates.CandidateForward`."""
        given, k = candidates.shape[1], self.candidates
        padded = torch.cat([candidates, candidates[:, -1:].expand(-1, k - given)], dim=1)
        for kind, mask in self.masks.items():
            mask[..., (self.length - 1) % self.rooms[kind]] = 0  # where the last token lies once this forward has begun
        inputs = {
            "input_ids": padded,
            "attention_mask": self.masks if len(self.masks) > 1 else next(iter(self.masks.values())),
            "position_ids": self.position[..., None].expand(*self.position.shape, k),
            "use_cache": True,
            "return_dict": True,
            **{name: kind.expand(-1, k) for name, kind in self.types.items()},
            **{CACHE: self.cache, **self.options},
        }
        forward = self._eagerly if self.compiled is None else self._compiled
        chosen, output = forward(inputs, given, choose)
        output = keep_chosen(output, lambda layer: self._pick(layer, chosen))
        for move in self.moves:
            move.keep(chosen, self.length)
        self.length += 1
        self.position = self.position + 1
        return chosen, output

    def finish(self) -> Cache:
        """See :class:`~counterpoint.decoders.forwards.candidates.CandidateForward`; the static cache that was given."""
        if self.static is None:
            return self.cache
        fill_static(self.static, self.cache, self.length - 1)
        return self.static

    def _eagerly(self, inputs: dict[str, Any], given: int, choose: Choose) -> tuple[Tensor, ModelOutput]:
        """The model as it is; of the candidates that were ``given`` the chosen one alone is unembedded."""
        chosen = self.rows

        def narrow(hidden: Tensor) -> Tensor:
            nonlocal chosen
            chosen = choose(hidden[:, :given])
            return hidden[self.rows.to(hidden.device), chosen.to(hidden.device)].unsqueeze(1)

        with narrowed_unembedding(self.model, narrow) as narrowed, narrowed:
            output: ModelOutput = self.model(**inputs)
        return chosen, output

    def _compiled(self, inputs: dict[str, Any], given: int, choose: Choose) -> tuple[Tensor, ModelOutput]:
        """The compiled model, which unembeds all candidates and shows their hidden states."""
        output: ModelOutput = self.compiled(**{**inputs, SHOWN: True})  # type: ignore[misc]
        hidden = output["hidden_states"][-1]
        chosen = choose(hidden[:, :given])
        output["logits"] = output["logits"][self.rows.to(hidden.device), chosen.to(hidden.device)].unsqueeze(1)
        if not self.options.get(SHOWN):
            output["hidden_states"] = None
        return chosen, output

    def _masks(self, seen: Bool[Tensor, "rows length"] | None, dtype: torch.dtype) -> dict[str, Tensor]:
        """For each kind of layer ``[rows, 1, k, room + k]``: the text's tokens that a candidate sees, and itself."""
        rows, k, device = 1 if seen is None else len(seen), self.candidates, self.position.device
        hidden, masks = torch.finfo(dtype).min, {}
        for kind, room in self.rooms.items():
            mask = torch.full((rows, 1, k, room + k), hidden, dtype=dtype, device=device)
            mask[..., room:].diagonal(dim1=2, dim2=3).fill_(0)
            held = torch.arange(max(0, self.length - room), self.length, device=device)
            visible = torch.zeros(rows, len(held), dtype=dtype, device=device)
            if seen is not None:
                visible.masked_fill_(~seen[:, held].to(device), hidden)
            mask[..., held % room] = visible[:, None, None]
            masks[kind] = mask
        return masks

    def _pick(self, layer: Tensor, chosen: Int[Tensor, "rows"]) -> Tensor:
        """The chosen candidate's ``[rows, 1, hidden]`` or ``[rows, heads, 1, context + 1]`` of a layer's output."""
        rows, chosen = self.rows.to(layer.device), chosen.to(layer.device)
        if layer.ndim == 3:
            return layer[rows, chosen].unsqueeze(1)
        attended, room = layer[rows, :, chosen], layer.shape[-1] - self.candidates
        held = torch.arange(max(0, self.length - room), self.length, device=layer.device) % room
        own = attended[rows, :, room + chosen]
        return torch.cat([attended[..., held], own[..., None]], dim=-1).unsqueeze(2)
