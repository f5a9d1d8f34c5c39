"""What a prefix cache gives for texts never depends on the texts before."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from counterpoint.decoders.forwards.prefix_cache import PrefixCache
from counterpoint.decoders.hf.positions import positions
from families import ALL, Family

FAMILIES = [family for family in ALL if family.name in ("llama", "mistral_sliding", "gemma3_sliding")]

texts = st.integers(1, 12).flatmap(
    lambda width: st.lists(
        st.tuples(st.lists(st.integers(4, 7), min_size=width, max_size=width), st.integers(0, width - 1)),
        min_size=1,
        max_size=4,
    )
)


def tensors(rows: list[tuple[list[int], int]]) -> tuple[Tensor, Tensor]:
    """Ids and which of them are text: every row's first ``pads`` are padding."""
    ids = torch.tensor([row for row, _ in rows])
    seen = torch.arange(ids.shape[1]) >= torch.tensor([[pads] for _, pads in rows])
    return ids.masked_fill(~seen, 0), seen


@settings(max_examples=40)
@given(st.sampled_from(FAMILIES), st.lists(texts, min_size=2, max_size=5), st.booleans())
def test_history_leaves_no_trace(family: Family, history: list[list[tuple[list[int], int]]], whole: bool) -> None:
    model = family.build()
    cache = PrefixCache(model)
    for rows in history:
        ids, seen = tensors(rows)
        held, _ = cache.hold(ids, seen, most=ids.shape[1] - (not whole))
        order = positions(seen)
        fresh = model(ids, attention_mask=seen.long(), position_ids=order).logits
        if held < ids.shape[1]:
            logits = model(ids[:, held:], **cache.arguments(seen, held)).logits
            torch.testing.assert_close(logits[seen[:, held:]], fresh[:, held:][seen[:, held:]], atol=1e-4, rtol=1e-4)
        cache.keep(ids, seen)
        assert cache.cache is not None
        assert cache.cache.get_seq_length() == ids.shape[1]


def test_a_forward_that_fails_leaves_nothing_behind() -> None:
    model = FAMILIES[0].build()
    cache = PrefixCache(model)
    ids, seen = tensors([([4, 5, 6, 7], 0)])
    cache.hold(ids, seen, most=3)
    model(ids[:, :2], **cache.arguments(seen[:, :2], 0))  # half of it, and never kept
    assert cache.hold(ids, seen, most=3) == (0, None)
    assert cache.cache is not None
    assert cache.cache.get_seq_length() == 0


def test_only_what_is_new_is_computed() -> None:
    cache = PrefixCache(FAMILIES[0].build())
    ids, seen = tensors([([4, 5, 6, 7], 0), ([4, 5, 7, 6], 0)])
    cache.hold(ids, seen, most=3)
    cache.model(ids, **cache.arguments(seen, 0))
    cache.keep(ids, seen)
    longer = torch.cat([ids.flip(0), torch.tensor([[5], [6]])], dim=1)
    held, rows = cache.hold(longer, torch.ones_like(longer, dtype=torch.bool), most=4)
    assert held == 4
    assert rows is not None
    assert rows.tolist() == [1, 0]
