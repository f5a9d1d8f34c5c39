"""The position of each token, as ``generate`` numbers them for every forward of its own.

Models number tokens by themselves where nobody does it for them, and not all alike: from the slot in the cache, padding counted,
or, as RoBERTa does, from the padding token's id. A forward beside ``generate`` agrees with it only if it gets the same positions.
"""

from __future__ import annotations

from inspect import signature

from jaxtyping import Bool, Int
from torch import Tensor, nn


def positions(seen: Bool[Tensor, "rows length"]) -> Int[Tensor, "rows length"]:
    """The number of tokens before each token, padding left out.

    Example:
        >>> import torch
        >>> positions(torch.tensor([[False, True, True]]))
        tensor([[0, 0, 1]])
    """
    return (seen.long().cumsum(dim=-1) - 1).clamp(min=0)


def position_arguments(model: nn.Module, seen: Bool[Tensor, "rows length"], start: int = 0) -> dict[str, Tensor]:
    """What a forward of the tokens from ``start`` on takes as their positions; nothing where the model takes none.

    Models with several positions a token, for pictures, take one for all of them where there is text alone.
    """
    return {"position_ids": positions(seen)[:, start:]} if "position_ids" in signature(model.forward).parameters else {}
