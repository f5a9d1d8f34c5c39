"""Linear layers of a few rows on a CPU: (W x^T)^T for x W^T.

BLAS on a CPU packs the whole float32 weight for a product of 2 or 5 rows, which costs up to twice the product of one row; with
the factors the other way round it reads the weight once. ``benchmarks/skinny_linear.py`` measures it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor, nn

from counterpoint.decoders.kernels.patching import SharedPatch

MAX_ROWS = 64
"""With more rows than this the packing is worth its cost."""

UNPADDED_ROWS = 11
"""Up to this many rows any number is fast; above it only multiples of four are, so that rows of zeros are added."""


def skinny_forward(module: nn.Linear, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows out"]:
    """``module(x)``, as (W x^T)^T + b where ``x`` has few rows."""
    rows = x.numel() // x.shape[-1]
    if not 1 < rows <= MAX_ROWS or torch.is_grad_enabled():
        return nn.functional.linear(x, module.weight, module.bias)
    flat = nn.functional.pad(x.reshape(rows, -1), (0, 0, 0, -rows % 4 if rows > UNPADDED_ROWS else 0))
    product = (module.weight @ flat.t()).t()[:rows].contiguous()
    if module.bias is not None:
        product += module.bias
    return product.view(*x.shape[:-1], -1)


def float32_linears(model: nn.Module) -> list[nn.Linear]:
    """The plain linear layers of ``model`` that are in float32 on a CPU and that nobody else has wrapped."""
    return [module for module in model.modules() if is_plain(module) and "forward" not in vars(module)]


def is_plain(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether ``module`` is a linear layer and nothing more, in float32 on a CPU."""
    if type(module) is not nn.Linear:
        return False
    weight = module.weight
    return weight.dtype == torch.float32 and weight.device.type == "cpu" and type(weight) is nn.Parameter


_patch = SharedPatch[nn.Linear](
    lambda module: vars(module).update(forward=partial(skinny_forward, module)),
    lambda module: vars(module).pop("forward", None),
)


def skinny_linears(modules: Sequence[nn.Linear]) -> AbstractContextManager[None]:
    """Within the context these layers compute by :func:`skinny_forward`, with the same results for concurrent users."""
    return _patch(modules)
