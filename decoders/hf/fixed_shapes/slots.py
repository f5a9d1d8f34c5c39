"""A cache of fixed shape: slots for the text, then slots for candidates, all at addresses that never change.

A layer that sees the whole text has a slot for each token. One with a window of W tokens has W - 1 slots, which are a ring: token
t lies in slot t mod (W - 1), where the token lay that nothing sees any more. Keys know their positions, so that the order of
slots means nothing. The k candidates lie in the last k slots; which of them was kept, and where it belongs, is in two small
tensors, and the next forward moves it there before it writes new candidates. So every forward is the same graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin, DynamicSlidingWindowLayer, StaticLayer, StaticSlidingWindowLayer

from counterpoint.decoders.hf.caches import is_empty


@dataclass(frozen=True)
class Move:
    """Which candidate of each row becomes part of the text with the next forward, and its slot among the ``room`` of the text."""

    chosen: Int[Tensor, "rows"]
    slot: Int[Tensor, "1"]
    room: int

    def keep(self, chosen: Int[Tensor, "rows"], token: int) -> None:
        """The next forward moves these candidates, which are this token of the texts."""
        self.chosen.copy_(chosen)
        self.slot.fill_(token % self.room)


class SlotLayer(CacheLayerMixin):
    """The keys and values of one layer, ``[rows, heads, room + candidates, width]``."""

    is_compileable = True
    is_sliding = False
    keys: Tensor
    values: Tensor

    def __init__(
        self,
        keys: Float[Tensor, "rows *heads slots width"],
        values: Float[Tensor, "rows *heads slots value_width"],
        move: Move,
        room: int,
        window: int | None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys, self.values, self.move, self.room, self.window = keys, values, move, room, window
        self.is_initialized = True
        for states in (keys, values):
            torch._dynamo.mark_static_address(states, guard=False)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing is left to be done."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Move the kept candidate into its slot, write the new ones, and show all slots; the mask says which are seen."""
        for states, new in ((self.keys, key_states), (self.values, value_states)):
            candidates = states[..., self.room :, :]
            index = self.move.chosen.view(-1, *[1] * (states.ndim - 1)).expand(*candidates.shape[:-2], 1, candidates.shape[-1])
            states.index_copy_(states.ndim - 2, self.move.slot, candidates.gather(-2, index))
            candidates.copy_(new)
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """The slots, and the position of the first."""
        return self.keys.shape[-2], 0

    def get_seq_length(self) -> int:
        """The number of slots for the text."""
        return self.room

    def get_max_length(self) -> int:
        """The same."""
        return self.room


def rooms(cache: Cache) -> dict[str, int]:
    """The slots for the text, by the kind of layer that models know masks by."""
    layers = [layer for layer in cache.layers if isinstance(layer, SlotLayer)]
    return {"full_attention" if layer.window is None else "sliding_attention": layer.room for layer in layers}


def unslottable_layers(cache: Cache) -> str:
    """The names of the kinds of static layers that have no form with slots for candidates; "" if there are none."""
    kinds = {type(layer) for layer in cache.layers if not is_empty(layer)}
    return ", ".join(sorted(kind.__name__ for kind in kinds - {StaticLayer, StaticSlidingWindowLayer}))


def static_room(cache: Cache) -> int | None:
    """The number of tokens for which a static cache has slots; None if all its layers have windows, which need no more."""
    whole = [layer for layer in cache.layers if isinstance(layer, StaticLayer) and not isinstance(layer, StaticSlidingWindowLayer)]
    return max((int(layer.max_cache_len) for layer in whole), default=None)


def slotted(cache: Cache, room: int, candidates: int) -> tuple[Cache, list[Move]]:
    """The text of a growing ``cache``, which is emptied layer by layer, in slots; and what moves the kept candidates.

    The last token of the text is the first that is moved, to where it lies already.
    """
    length = int(cache.get_seq_length())
    moves: dict[tuple[torch.device, int], Move] = {}
    layers: list[Any] = []
    while cache.layers:
        layer: Any = cache.layers.pop(0)
        if is_empty(layer):
            layers.append(layer)
            continue
        window = layer.sliding_window if isinstance(layer, DynamicSlidingWindowLayer) else None
        own = room if window is None else min(room, window - 1)
        device, rows = layer.keys.device, layer.keys.shape[0]
        if (device, own) not in moves:
            chosen = torch.zeros(rows, dtype=torch.long, device=device)
            moves[device, own] = Move(chosen, torch.tensor([(length - 1) % own], device=device), own)
        keys, values = (_in_slots(states, length, own, candidates) for states in (layer.keys, layer.values))
        layers.append(SlotLayer(keys, values, moves[device, own], own, window))
    return Cache(layers=layers), list(moves.values())


def _in_slots(states: Tensor, length: int, room: int, candidates: int) -> Tensor:
    held = min(states.shape[-2], room)
    slots = torch.arange(length - held, length, device=states.device) % room
    found = states.new_zeros(*states.shape[:-2], room + candidates, states.shape[-1])
    found.index_copy_(found.ndim - 2, slots, states[..., -held:, :])
    found[..., room, :] = states[..., -1, :]
    return found


def fill_static(static: Cache, cache: Cache, length: int) -> None:
    """Give an empty static cache the first ``length`` tokens of ``cache``, which is emptied layer by layer."""
    for plain in static.layers:
        layer: Any = cache.layers.pop(0)
        if not isinstance(layer, SlotLayer) or not isinstance(plain, StaticLayer):
            continue
        held = min(length, layer.room)
        slots = torch.arange(length - held, length, device=layer.keys.device) % layer.room
        states = [each.index_select(-2, slots) for each in (layer.keys, layer.values)]
        if layer.window is not None and length >= layer.window:  # its oldest slot is of a token that nothing sees any more
            states = [torch.cat([each[..., :1, :], each], dim=-2) for each in states]
        plain.update(*states)
        plain.cumulative_length.fill_(length)
        if isinstance(plain, StaticSlidingWindowLayer):
            plain.cumulative_length_int = length
