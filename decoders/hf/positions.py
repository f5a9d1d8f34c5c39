"""The position of each token, as ``generate`` numbers them for every forward of its own.

Models number tokens by themselves where nobody does it for them, and not all alike: from the slot in the cache, padding counted,
or, as RoBERTa does, from the padding token's id. A forward beside ``generate`` agrees with it only if it gets the same positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch
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


def picture_positions(
    model: nn.Module, inputs: Mapping[str, Tensor], seen: Bool[Tensor, "rows length"]
) -> tuple[Int[Tensor, "rows length"] | Int[Tensor, "4 rows length"], Int[Tensor, "rows 1"] | None]:
    """The positions of a processor's whole output, and what is added to those of later tokens for places beside the text's.

    Models with places of height and width number pictures by ``get_rope_index``, which leaves nothing in them; their positions are
    four, the text's first. Others number all tokens alike, and nothing is added.
    """
    text, module = positions(seen), next((each for each in model.modules() if hasattr(type(each), "get_rope_index")), None)
    if module is None or not any(inputs.get(grid) is not None for grid in ("image_grid_thw", "video_grid_thw")):
        return text, None
    numbered: Any = module
    taken = signature(numbered.get_rope_index).parameters
    places, deltas = numbered.get_rope_index(**{name: value for name, value in inputs.items() if name in taken})
    return torch.cat([text[None], places.to(text)]), deltas.reshape(-1, 1).to(text)


def later_positions(
    prompt: int, new: Int[Tensor, "rows length"], delta: Int[Tensor, "1 1"] | None
) -> Int[Tensor, "rows length"] | Int[Tensor, "4 rows length"]:
    """The positions of text after a prompt of so many tokens, to whose places beside the text's ``delta`` is added."""
    text = torch.arange(prompt, prompt + new.shape[1], device=new.device).expand(len(new), -1)
    return text if delta is None else torch.stack([text, *[text + delta.to(text)] * 3])
