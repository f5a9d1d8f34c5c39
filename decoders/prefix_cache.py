"""A model's own cache of texts that someone else extends, reorders and takes back.

A logits processor sees token ids only: beams change places, drafts are rejected, a second ``generate`` starts anew. What the cache
still holds of each row is found by comparing ids, so that its content never depends on what was computed before.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicSlidingWindowLayer

from counterpoint.decoders.degeneration import Context
from counterpoint.decoders.unembedding import narrowed_unembedding


class PrefixCache:
    """Keys, values and last hidden states of the rows last given, reused as far as the next rows begin like them."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self.ids: Tensor | None = None
        self.seen: Tensor | None = None
        self.cache: Cache = DynamicCache(config=self.model.config)
        self.context: Context | None = None

    def follow(self, input_ids: Int[Tensor, "rows length"], seen: Bool[Tensor, "rows length"]) -> tuple[Context, dict[str, Any]]:
        """Bring the cache to exactly these rows; gives their hidden states and the arguments of a forward that continues them.

        ``seen`` is false on padding. Only tokens beyond what the cache holds are computed.
        """
        held = self._keep_common(input_ids, seen)
        positions = (seen.cumsum(dim=-1) - 1).clamp(min=0)
        if held < input_ids.shape[1]:
            self._extend(input_ids, seen, positions, held)
        assert self.context is not None  # noqa: S101 - _extend has run at least once
        self.ids, self.seen = input_ids.clone(), seen
        padded = not bool(seen.all())
        self.context.seen = seen if padded else None
        return self.context, {
            "attention_mask": torch.cat([seen, seen.new_ones(len(seen), 1)], dim=1).long() if padded else None,
            "position_ids": torch.cat([positions, positions[:, -1:] + 1], dim=1),
            "past_key_values": self.cache,
            "use_cache": True,
        }

    def _keep_common(self, input_ids: Tensor, seen: Tensor) -> int:
        """Reorder and crop to the longest beginnings the new rows share with cached ones; how many tokens are left."""
        if self.ids is None or self.seen is None or self.context is None:
            return 0
        length = min(self.ids.shape[1], input_ids.shape[1])
        same = (self.ids[None, :, :length] == input_ids[:, None, :length]) & (self.seen[None, :, :length] == seen[:, None, :length])
        common, rows = same.cumprod(dim=-1).sum(dim=-1).max(dim=-1)
        held = int(common.min())
        drop = self.ids.shape[1] - held
        lossy = any(
            isinstance(layer, DynamicSlidingWindowLayer) and layer.cumulative_length >= layer.sliding_window
            for layer in self.cache.layers
        )
        if not held or (drop and lossy):
            self.clear()
            return 0
        if rows.tolist() != list(range(self.ids.shape[0])):
            self.cache.reorder_cache(rows)  # type: ignore[arg-type]
        if drop:
            self.cache.crop(-drop)
        self.context.select(rows, held)
        return held

    def _extend(self, input_ids: Tensor, seen: Tensor, positions: Tensor, held: int) -> None:
        """Compute the tokens from ``held`` on."""
        hidden: list[Tensor] = []

        def narrow(states: Tensor) -> Tensor:
            hidden.append(states)
            return states[:, -1:]

        with torch.no_grad(), narrowed_unembedding(self.model, narrow):
            self.model(
                input_ids=input_ids[:, held:],
                attention_mask=None if bool(seen.all()) else seen.long(),
                position_ids=positions[:, held:],
                past_key_values=self.cache,
                use_cache=True,
            )
        if self.context is None:
            self.context = Context(hidden[0], None)
        else:
            self.context.append(hidden[0])
