"""What is left of logits when a sampler keeps some tokens: those, and the likeliest ones in any case."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def restricted(
    scores: Float[Tensor, "*batch vocabulary"], kept: Bool[Tensor, "*batch vocabulary"], min_tokens_to_keep: int
) -> Float[Tensor, "*batch vocabulary"]:
    """The scores of the kept and of the ``min_tokens_to_keep`` likeliest tokens, -inf for all others.

    Example:
        >>> import torch
        >>> restricted(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([True, False, False]), min_tokens_to_keep=2)
        tensor([3., 2., -inf])
    """
    least = scores.topk(min(min_tokens_to_keep, scores.shape[-1]), dim=-1).values[..., -1:]
    return scores.masked_fill(~(kept | (scores >= least)), -torch.inf)


def check_min_tokens(min_tokens_to_keep: int) -> None:
    """``min_tokens_to_keep`` is 1 or more."""
    if min_tokens_to_keep < 1:
        raise ValueError(f"min_tokens_to_keep={min_tokens_to_keep!r}: at least one token is kept, e.g. min_tokens_to_keep=1")
