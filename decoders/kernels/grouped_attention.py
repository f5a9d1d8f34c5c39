"""Scaled dot-product attention of several masked queries over shared key heads, without repeating the keys.

With grouped queries and a mask, transformers repeats every key and value head for each query head that shares it: a copy of the
whole context in every layer and step. Folding the query heads that share a key head into the query axis computes the same
attention on the cache as it is.
"""

from __future__ import annotations

import threading
from typing import Any

from jaxtyping import Float, Shaped
from torch import Tensor, nn
from transformers import PreTrainedConfig

from counterpoint.decoders.hf.attention import attention_name, register_attention, sdpa, set_attention
from counterpoint.decoders.kernels.patching import SharedPatch
from counterpoint.decoders.undoing import Change, together

NAME = "counterpoint_grouped_sdpa"


def grouped_sdpa(
    module: nn.Module,
    query: Float[Tensor, "rows heads queries width"],
    key: Float[Tensor, "rows key_heads keys width"],
    value: Float[Tensor, "rows key_heads keys value_width"],
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """The attention that ``sdpa`` computes, with queries folded to ``[rows, key_heads, groups * queries, width]``."""
    rows, heads, queries, _ = query.shape
    groups = heads // key.shape[1]
    biased = kwargs.get("position_bias") is not None or kwargs.get("softcap") is not None
    if groups == 1 or queries == 1 or biased or attention_mask is None or attention_mask.shape[1] > 1:
        return sdpa(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    folded = query.reshape(rows, heads // groups, groups * queries, -1)
    attended = nn.functional.scaled_dot_product_attention(
        folded, key, value, attn_mask=repeated(attention_mask, groups), dropout_p=dropout, scale=scaling
    )
    return attended.reshape(rows, heads, queries, -1).transpose(1, 2).contiguous(), None


def repeated(mask: Shaped[Tensor, "rows 1 queries keys"], groups: int) -> Shaped[Tensor, "rows 1 folded keys"]:
    """The mask of all queries of a key head; made once for all layers of a forward, which share their masks."""
    masks: dict[tuple[int, int], tuple[Tensor, Tensor]] | None = getattr(_forward, "masks", None)
    if masks is None:
        return mask.repeat(1, 1, groups, 1)
    key = (id(mask), groups)
    if key not in masks:
        masks[key] = (mask, mask.repeat(1, 1, groups, 1))  # the mask is kept, so that its id is not used again
    return masks[key][1]


_forward = threading.local()
register_attention(NAME, grouped_sdpa)

_patch = SharedPatch[PreTrainedConfig](lambda config: set_attention(config, NAME), lambda config: set_attention(config, "sdpa"))


def grouped_attention(config: PreTrainedConfig) -> Change:
    """Models of this ``config`` that use ``sdpa`` use :func:`grouped_sdpa` for one forward; others are left as they are.

    Nothing else changes for a concurrent user of the model: the function computes what ``sdpa`` does, masked or not.
    """
    outer = getattr(_forward, "masks", None)
    masks = Change(lambda: vars(_forward).update(masks={}), lambda: vars(_forward).update(masks=outer))
    return together(_patch([config] if attention_name(config) == "sdpa" else []), masks)
