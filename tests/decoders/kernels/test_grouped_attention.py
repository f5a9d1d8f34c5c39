"""Folded attention is ``sdpa``'s, and nothing of it stays behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from counterpoint.decoders.kernels.grouped_attention import grouped_attention, grouped_sdpa
from families import ALL, prompts

LLAMA = next(family for family in ALL if family.name == "llama")


class Attention(nn.Module):
    """What the functions read of an attention module."""

    is_causal = True

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.num_key_value_groups = groups


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("queries", [1, 5])
@pytest.mark.parametrize("masked", ["additive", "boolean", "per head", "none"])
def test_is_sdpa(groups: int, queries: int, masked: str) -> None:
    torch.manual_seed(groups + queries)
    key_heads, keys, width = 2, 9, 8
    heads = groups * key_heads
    query = torch.randn(3, heads, queries, width)
    key, value = torch.randn(2, 3, key_heads, keys, width)
    seen = torch.rand(3, 1, queries, keys) < 0.6
    seen[..., 0] = True
    mask = {
        "additive": torch.where(seen, 0.0, torch.finfo(torch.float32).min),
        "boolean": seen,
        "per head": torch.randn(3, heads, queries, keys),
        "none": None,
    }[masked]
    arguments = (Attention(groups), query, key, value, mask)
    expected, _ = sdpa_attention_forward(*arguments, scaling=0.3)
    found, _ = grouped_sdpa(*arguments, scaling=0.3)
    assert found.shape == expected.shape == (3, queries, heads, width)
    torch.testing.assert_close(found, expected)


def test_the_models_own_attention_returns() -> None:
    model = LLAMA.build("sdpa")
    ids, mask = prompts(model, (9, 6))
    with grouped_attention(model.config) as outer, outer:
        inside = model.config._attn_implementation
        with grouped_attention(model.config) as inner, inner:
            logits = model(ids, attention_mask=mask).logits
        assert model.config._attn_implementation == inside != "sdpa"
    assert model.config._attn_implementation == "sdpa"
    torch.testing.assert_close(logits[mask.bool()], model(ids, attention_mask=mask).logits[mask.bool()])


def test_eager_models_are_left_alone() -> None:
    model = LLAMA.build("eager")
    with grouped_attention(model.config) as change, change:
        assert model.config._attn_implementation == "eager"
