"""Every kernel is the plain product, up to rounding, and packed copies follow their weights."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from counterpoint.decoders.kernels import products
from counterpoint.decoders.kernels.policy import NAMES
from counterpoint.decoders.kernels.products import KERNELS, candidates, packed, packed_weight
from counterpoint.decoders.kernels.skinny_linear import SkinnyLinears
from rounding import rounding

DTYPES = (torch.float32, torch.bfloat16)
CASES = [(name, dtype) for dtype in DTYPES for name in candidates(dtype, may_pack=True)]
needs_packing = pytest.mark.skipif("packed" not in candidates(torch.float32, may_pack=True), reason="torch is built without oneDNN")


@torch.no_grad()
def difference(
    kernel: Callable[..., Tensor], dtype: torch.dtype, rows: int, width: int, out: int, bias: bool
) -> tuple[float, float]:
    """How far a kernel is from the product in double precision, and what rounding explains."""
    torch.manual_seed(rows)
    layer = nn.Linear(width, out, bias=bias, dtype=dtype)
    x = torch.randn(width, rows).to(dtype).t()  # in another order than memory's
    found = kernel(x, layer.weight, layer.bias)
    exact = nn.functional.linear(x.double(), layer.weight.double(), layer.bias.double() if bias else None)
    assert found.shape == (rows, out)
    assert found.dtype == dtype
    largest = 1 + float((x.double().abs() @ layer.weight.double().abs().t()).max())
    return float((found.double() - exact).abs().max()), rounding(dtype, 4 + width, largest)


@pytest.mark.parametrize(("name", "dtype"), CASES)
@settings(max_examples=15)  # oneDNN compiles code for each shape
@given(st.integers(1, 70), st.integers(1, 20), st.integers(1, 20), st.booleans())
def test_is_the_product(name: str, dtype: torch.dtype, rows: int, width: int, out: int, bias: bool) -> None:
    found, allowed = difference(KERNELS[name], dtype, rows, width, out, bias)
    assert found <= allowed


def test_a_wrong_product_is_seen() -> None:
    def wrong(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return KERNELS["transposed"](x, weight, None)

    found, allowed = difference(wrong, torch.float32, 5, 16, 8, True)
    assert found > allowed


def test_every_kernel_has_a_name_that_a_file_may_say() -> None:
    assert tuple(KERNELS) == NAMES


def test_packed_weights_are_a_matter_of_permission() -> None:
    assert "packed" not in candidates(torch.float32, may_pack=False)


@needs_packing
@torch.no_grad()
def test_packed_copies_follow_the_weight() -> None:
    layer, x = nn.Linear(8, 4, bias=False), torch.randn(3, 8)
    assert packed_weight(layer.weight) is packed_weight(layer.weight)
    packed(x, layer.weight, None)
    layer.weight.mul_(2)
    torch.testing.assert_close(packed(x, layer.weight, None), layer(x))
    layer.weight.data = torch.randn(4, 8)
    torch.testing.assert_close(packed(x, layer.weight, None), layer(x))


@needs_packing
@torch.no_grad()
def test_packed_copies_follow_a_merge() -> None:
    """PEFT adds to ``weight.data``, which leaves neither another version nor another place."""
    layer, x = nn.Linear(8, 4, bias=False), torch.randn(3, 8)
    packed(x, layer.weight, None)
    layer.weight.data += torch.randn(4, 8)
    SkinnyLinears(layer)  # with which each call begins
    torch.testing.assert_close(packed(x, layer.weight, None), layer(x))


@needs_packing
def test_packed_copies_go_with_the_weight() -> None:
    layer = nn.Linear(8, 4, bias=False)
    packed_weight(layer.weight)
    before = len(products._packed)
    del layer
    gc.collect()
    assert len(products._packed) == before - 1
