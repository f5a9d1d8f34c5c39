"""Linear layers of a few rows on a CPU, by the kernel that was chosen for them."""

from __future__ import annotations

from functools import partial
from typing import TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor, nn

from counterpoint.decoders.kernels.choosing import choose, known_kernel
from counterpoint.decoders.kernels.patching import SharedPatch
from counterpoint.decoders.kernels.products import KERNELS, forget_stale
from counterpoint.decoders.undoing import Change

MAX_ROWS = {"transposed": 64, "onednn": 512, "packed": 512}
"""With more rows of all texts than this the plain kernel is used. oneDNN keeps an advantage: on an AMD EPYC it is twice as fast as
torch's own float32 product with 40 to 512 rows.
"""

DTYPES = (torch.float32, torch.bfloat16)


def skinny_forward(module: nn.Linear, x: Float[Tensor, "*rows width"], each: int | None = None) -> Float[Tensor, "*rows out"]:
    """``module(x)`` by the chosen kernel where ``x`` has few rows.

    Args:
        module: The layer.
        x: Its input.
        each: How many of the rows belong to one text; by default the last but one axis of three.
    """
    rows = x.numel() // x.shape[-1]
    if each is None:
        each = x.shape[1] if x.ndim == 3 else 1
    if rows > 1 and not torch.is_grad_enabled():
        name = known_kernel(module.weight, each)
        if rows <= MAX_ROWS.get(name, 0):
            return KERNELS[name](x.reshape(rows, -1), module.weight, module.bias).view(*x.shape[:-1], -1)
    return nn.functional.linear(x, module.weight, module.bias)


def plain_linears(model: nn.Module) -> list[nn.Linear]:
    """The plain linear layers of ``model`` on a CPU that nobody else has wrapped."""
    return [module for module in model.modules() if is_plain(module) and "forward" not in vars(module)]


def linear_weights(model: nn.Module) -> list[Tensor]:
    """The weights of the layers that kernels are chosen for."""
    return [linear.weight for linear in plain_linears(model)]


def is_plain(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether ``module`` is a linear layer and nothing more, in float32 or bfloat16 on a CPU."""
    if type(module) is not nn.Linear:
        return False
    weight = module.weight
    return weight.dtype in DTYPES and weight.device.type == "cpu" and type(weight) is nn.Parameter


_patch = SharedPatch[nn.Linear](
    lambda module: vars(module).update(forward=partial(skinny_forward, module)),
    lambda module: vars(module).pop("forward", None),
)


class SkinnyLinears:
    """The linear layers of a model for forwards of a few rows a text; kernels are chosen at the first of each number of rows.

    Args:
        model: The model.
        but: A layer that is given one row of each text, such as the head of a search, and is left alone.
    """

    def __init__(self, model: nn.Module, but: nn.Module | None = None) -> None:
        self.linears = [linear for linear in plain_linears(model) if linear is not but]
        self.faster: dict[int, list[nn.Linear]] = {}
        forget_stale(linear.weight for linear in self.linears)

    def __call__(self, each: int) -> Change:
        """While it lasts, the layers that have a faster kernel than the plain one for ``each`` rows of a text use it.

        Concurrent users of the model get the same results up to rounding.
        """
        if each not in self.faster:
            choose([linear.weight for linear in self.linears], each)
            self.faster[each] = [linear for linear in self.linears if known_kernel(linear.weight, each) != "plain"]
        return _patch(self.faster[each])
