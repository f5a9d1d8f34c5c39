"""Texts of different lengths as one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor


def padded(
    texts: Sequence[Sequence[int]], side: Literal["left", "right"] = "right", padding: int = 0, device: Any = None
) -> tuple[Int[Tensor, "rows width"], Int[Tensor, "rows width"]]:
    """The ids of texts, each filled up to the longest, and their attention mask.

    Args:
        texts: The tokens of each row.
        side: Where it is filled up: "left" to generate, "right" where each token is looked at in its own place.
        padding: The token to fill up with; any will do where the mask goes with it.
        device: The device of both tensors; torch's default if None.

    Example:
        >>> padded([[5, 6, 7], [8]], side="left")
        (tensor([[5, 6, 7],
                [0, 0, 8]]), tensor([[1, 1, 1],
                [0, 0, 1]]))
    """
    width = max(map(len, texts))
    missing = [width - len(text) for text in texts]
    if side == "left":
        ids = [[*[padding] * less, *text] for text, less in zip(texts, missing, strict=True)]
        mask = [[0] * less + [1] * len(text) for text, less in zip(texts, missing, strict=True)]
    else:
        ids = [[*text, *[padding] * less] for text, less in zip(texts, missing, strict=True)]
        mask = [[1] * len(text) + [0] * less for text, less in zip(texts, missing, strict=True)]
    return torch.tensor(ids, dtype=torch.long, device=device), torch.tensor(mask, dtype=torch.long, device=device)
