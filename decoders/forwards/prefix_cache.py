"""A model's own cache of texts that someone else extends, reorders and takes back.

A logits processor sees token ids only: beams change places, drafts are rejected, a second ``generate`` starts anew. What the cache
still holds of each row is found by comparing ids, so that what it gives never depends on the texts before, nor, by its
:class:`~counterpoint.decoders.forwards.lifetime.Lifetime`, on the weights that a model had then.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import Cache, PreTrainedModel

from counterpoint.decoders.forwards.lifetime import Lifetime
from counterpoint.decoders.forwards.readable import check_no_own_tokens
from counterpoint.decoders.hf.caches import (
    cache_argument,
    cached_length,
    drop_last,
    has_no_keys,
    holds_uncounted_text,
    is_recurrent,
    lost_tokens,
    new_cache,
)
from counterpoint.decoders.hf.module_state import ModuleState, check_state_is_its_own, has_changed, module_state
from counterpoint.decoders.hf.positions import position_arguments


class PrefixCache:
    """Keys and values of the rows last given, reused as far as the next rows begin like them.

    A step is :meth:`hold`, a forward of the remaining tokens with :meth:`arguments`, and :meth:`keep`. A forward that fails in
    between leaves nothing behind.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model, self.lifetime = model, Lifetime(model)
        self.parameters = signature(model.forward).parameters
        self.argument = cache_argument(model)
        self.looked = False
        self.before: ModuleState = {}
        self.largest, self.padded = 0, False
        """The largest of the ids that were last given, and whether some of them are padding."""
        self.clear()

    def __reduce__(self) -> tuple[Any, ...]:
        return PrefixCache, (self.model,)  # a copy holds nothing yet

    def clear(self) -> None:
        """Forget all rows."""
        self.ids: Tensor | None = None
        self.seen: Tensor | None = None
        self.cache: Cache | None = None if self.argument is None else new_cache(self.model)

    def hold(
        self, input_ids: Int[Tensor, "rows length"], seen: Bool[Tensor, "rows length"], most: int
    ) -> tuple[int, Int[Tensor, "rows"] | None]:
        """Bring the cache to the longest common beginning of these rows, of ``most`` tokens or fewer.

        ``seen`` is false on padding. Gives the number of tokens held, and the earlier row that each row now continues (None where
        all stay in their places).
        """
        if self.lifetime.ended():
            self.clear()
        if not self.looked:
            check_no_own_tokens(self.model)
        self.before = {} if self.looked else module_state(self.model)
        ids, mask, cache = self.ids, self.seen, self.cache
        self.ids = self.seen = None
        goes_on = self._look_at(input_ids, seen, ids, mask)
        if ids is None or mask is None or cache is None:
            self.clear()
            return 0, None
        rows: Tensor | None = None
        if goes_on and ids.shape[1] <= most:
            held = ids.shape[1]
        else:
            common, rows = common_beginning(ids, mask, input_ids, seen)
            held = min(int(common.min()), most)
        drop, new = ids.shape[1] - held, input_ids.shape[1] - held
        if held == 0 or (drop and (is_recurrent(cache) or lost_tokens(cache))) or (new > 1 and is_recurrent(cache)):
            self.clear()
            return 0, None
        if rows is not None:
            cache.reorder_cache(rows)  # type: ignore[arg-type]
        if drop:
            drop_last(cache, drop)
        return held, rows

    def _look_at(self, input_ids: Tensor, seen: Tensor, ids: Tensor | None, mask: Tensor | None) -> bool:
        """Whether each row goes on as it was. All numbers of a step are read at once, since a device has to be waited for."""
        facts = [seen.all(), input_ids.max() if input_ids.numel() else seen.all()]
        length = 0 if ids is None else ids.shape[1]
        if ids is not None and mask is not None and length <= input_ids.shape[1] and len(ids) == len(input_ids):
            facts += [(ids == input_ids[:, :length]).all(), (mask == seen[:, :length]).all()]
        unpadded, self.largest, *same = torch.stack([fact.long() for fact in facts]).tolist()
        self.padded = not unpadded
        return bool(same) and all(same)

    def arguments(self, seen: Bool[Tensor, "rows length"], held: int) -> dict[str, Any]:
        """What the forward of the tokens from ``held`` on takes besides them, of rows as they were given to :meth:`hold`."""
        arguments: dict[str, Any] = {"use_cache": self.argument is not None}
        text_only = held > 0 and self.cache is not None and has_no_keys(self.cache)
        if not text_only and self.padded:  # a state without keys has no padding to be told of
            arguments["attention_mask"] = seen.long()
        arguments |= position_arguments(self.model, seen, held)
        if self.argument is not None:
            arguments[self.argument] = self.cache
        return arguments

    def keep(self, input_ids: Int[Tensor, "rows length"], seen: Bool[Tensor, "rows length"]) -> None:
        """The forward went well: the cache holds these rows, if the model is one that puts them there."""
        if not self.looked:
            self._look(input_ids.shape[1])
            self.looked = True
        if self.argument is not None:
            self.ids, self.seen = input_ids.clone(), seen

    def _look(self, length: int) -> None:
        """After the first forward: nothing is kept of a model whose state is not in the cache that it takes, token for token."""
        check_state_is_its_own(self.model, self.before)
        cache = self.cache
        filled = cache is not None and (cached_length(cache) == length or holds_uncounted_text(cache))
        if not filled or has_changed(self.model, self.before):
            self.argument = self.cache = None


def common_beginning(
    known: Int[Tensor, "known_rows known_length"],
    known_seen: Bool[Tensor, "known_rows known_length"],
    input_ids: Int[Tensor, "rows length"],
    seen: Bool[Tensor, "rows length"],
) -> tuple[Int[Tensor, "rows"], Int[Tensor, "rows"]]:
    """The length of each row's longest common beginning with a known row, and the index of that known row.

    Example:
        >>> import torch
        >>> known, ids = torch.tensor([[5, 6, 7], [5, 8, 9]]), torch.tensor([[5, 8, 9, 4], [5, 6, 4, 4]])
        >>> common_beginning(known, known > 0, ids, ids > 0)
        (tensor([3, 2]), tensor([1, 0]))
    """
    length = min(known.shape[1], input_ids.shape[1])
    same = known[None, :, :length] == input_ids[:, None, :length]
    same &= known_seen[None, :, :length] == seen[:, None, :length]
    common, rows = same.cumprod(dim=-1).sum(dim=-1).max(dim=-1)
    return common, rows
