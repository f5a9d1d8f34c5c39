"""Linear layers of few rows give what they give anyway, and are themselves again afterwards."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from counterpoint.decoders.kernels.skinny_linear import float32_linears, skinny_forward, skinny_linears
from families import ALL

LLAMA = next(family for family in ALL if family.name == "llama")


@given(st.integers(1, 3), st.integers(1, 70), st.integers(1, 20), st.integers(1, 20), st.booleans())
def test_is_the_layer(batch: int, rows: int, width: int, out: int, bias: bool) -> None:
    torch.manual_seed(rows)
    layer = nn.Linear(width, out, bias=bias)
    x = torch.randn(batch, rows, width)
    with torch.no_grad():
        torch.testing.assert_close(skinny_forward(layer, x), layer(x), atol=1e-5, rtol=1e-5)


def test_gradients_flow_as_ever() -> None:
    layer = nn.Linear(4, 3)
    with skinny_linears([layer]):
        layer(torch.randn(1, 5, 4)).sum().backward()
    assert layer.weight.grad is not None


def test_only_plain_layers_are_taken() -> None:
    class Adapted(nn.Linear):
        """A layer with a forward of its own."""

    wrapped = nn.Linear(2, 2)
    wrapped.forward = lambda x: x  # type: ignore[method-assign]
    plain = nn.Linear(2, 2)
    model = nn.ModuleList([plain, wrapped, Adapted(2, 2), nn.Linear(2, 2, dtype=torch.bfloat16), nn.Linear(2, 2, device="meta")])
    assert float32_linears(model) == [plain]


def test_layers_are_themselves_again() -> None:
    linears = float32_linears(LLAMA.build())
    assert linears
    with pytest.raises(KeyError), skinny_linears(linears), skinny_linears(linears):
        raise KeyError
    assert not [module for module in linears if "forward" in vars(module)]
