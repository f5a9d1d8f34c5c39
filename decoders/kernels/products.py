"""The product x W^T + b of a few rows, computed in different ways that agree up to rounding.

Which of them is fast is a matter of the machine. BLAS may pack the whole float32 weight for 2 or 5 rows, which costs up to twice
the product of one; with the factors the other way round it reads the weight once on one CPU and takes longer on another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from counterpoint.decoders.hf.weights import place_of, version_of

Kernel = Callable[[Float[Tensor, "rows width"], Float[Tensor, "out width"], Float[Tensor, "out"] | None], Float[Tensor, "rows out"]]

UNPADDED_ROWS = 11
"""Up to this many rows any number is fast the other way round; above it only multiples of four are, so that zeros are added."""


def transposed(
    x: Float[Tensor, "rows width"], weight: Float[Tensor, "out width"], bias: Float[Tensor, "out"] | None
) -> Float[Tensor, "rows out"]:
    """(W x^T)^T."""
    rows = len(x)
    padded = nn.functional.pad(x, (0, 0, 0, -rows % 4)) if rows > UNPADDED_ROWS else x
    product = (weight @ padded.t()).t()[:rows].contiguous()
    return product if bias is None else product.add_(bias)


def onednn(x: Float[Tensor, "rows width"], weight: Tensor, bias: Float[Tensor, "out"] | None) -> Float[Tensor, "rows out"]:
    """By oneDNN, which torch gives bfloat16 to anyway, and float32 to MKL."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


def packed(
    x: Float[Tensor, "rows width"], weight: Float[Tensor, "out width"], bias: Float[Tensor, "out"] | None
) -> Float[Tensor, "rows out"]:
    """By oneDNN, from a copy of the weight in the order that it reads."""
    return onednn(x, packed_weight(weight), bias)


KERNELS: dict[str, Kernel] = {
    "plain": nn.functional.linear,
    "transposed": transposed,
    "onednn": onednn,
    "packed": packed,
}
PACKED_ROWS = 16
"""The number of rows that weights are packed for; they serve any."""
SAMPLED = 64
"""About so many numbers of a weight are compared at the beginning of a call."""

_packed: Any = WeakIdKeyDictionary()
"""By weight the state that its packed copy was made of, the copy, and some of its numbers."""


def packed_weight(weight: Float[Tensor, "out width"]) -> Tensor:
    """The packed copy, made anew where the weight has been changed or replaced; it lives as long as the weight does."""
    state = version_of(weight), place_of(weight)
    known = _packed.get(weight)
    if known is None or known[0] != state:
        known = state, torch.ops.mkldnn._reorder_linear_weight(weight.detach(), PACKED_ROWS), sample_of(weight)
        _packed[weight] = known
    copy: Tensor = known[1]
    return copy


def forget_stale(weights: Iterable[Tensor]) -> None:
    """Forget packed copies of weights that were changed through ``.data``, which leaves no version behind, as merging does."""
    for weight in weights:
        known = _packed.get(weight)
        if known is not None and known[2] != sample_of(weight):
            forget_packed(weight)


def sample_of(weight: Float[Tensor, "out width"]) -> list[float]:
    """Some numbers of a weight, all over it."""
    flat = weight.detach().reshape(-1)
    return flat[:: max(1, len(flat) // SAMPLED)].tolist()


def forget_packed(weight: Float[Tensor, "out width"]) -> None:
    """Give the memory of a packed copy back."""
    _packed.pop(weight, None)


def candidates(dtype: torch.dtype, may_pack: bool) -> list[str]:
    """The kernels that this build of torch has for weights of a dtype, the plain one first."""
    names = ["plain", "transposed"]
    if not torch.backends.mkldnn.is_available():
        return names
    if dtype == torch.float32:
        names.append("onednn")
    if may_pack and (dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        names.append("packed")
    return names
