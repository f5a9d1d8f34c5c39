"""A machine that rounds otherwise: the last bits of products of matrices are others, by shape and place, as from CPU to CPU.

``COUNTERPOINT_ROUNDING=1 pytest`` runs the tests on one, and another number is another machine. The same operation on the same
shapes stays the same to the last bit; no two shapes round alike.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

PRODUCTS = [
    (functional, "linear scaled_dot_product_attention"),
    (torch, "matmul mm bmm addmm baddbmm einsum"),
    (Tensor, "__matmul__ matmul mm bmm"),
]


def install(machine: int) -> None:
    """Let all products round as that machine does, from now on in this process."""
    for owner, names in PRODUCTS:
        for name in names.split():
            setattr(owner, name, rounded(getattr(owner, name), machine))


def rounded(product: Callable[..., Tensor], machine: int) -> Callable[..., Tensor]:
    """The product with other last bits."""

    @wraps(product)
    def other(*arguments: Any, **options: Any) -> Tensor:
        exact = product(*arguments, **options)
        if torch.compiler.is_compiling() or exact.dtype not in (torch.float32, torch.float64) or not exact.numel():
            return exact  # what is compiled is left to its compiler, and lower precisions are summed in float32
        size = exact.detach().abs()
        off = bits(machine, tuple(exact.shape)).to(exact) * torch.finfo(exact.dtype).eps * (size + size.mean())
        return torch.where(exact == 0, exact, exact + off)  # products of zeros are exact on every machine

    return other


@lru_cache(maxsize=256)
def bits(machine: int, shape: tuple[int, ...]) -> Tensor:
    """How far each place of a product of this shape is off, in units of its dtype's resolution."""
    generator = torch.Generator().manual_seed(zlib.crc32(repr((machine, shape)).encode()))
    return torch.rand(shape, generator=generator) - 0.5
