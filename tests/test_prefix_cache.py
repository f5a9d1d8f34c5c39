"""What a prefix cache gives for texts never depends on the texts before."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from counterpoint.decoders.prefix_cache import PrefixCache
from families import ALL, VOCABULARY

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


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(FAMILIES), st.lists(texts, min_size=2, max_size=5))
def test_history_leaves_no_trace(family: object, history: list[list[tuple[list[int], int]]]) -> None:
    model = family.build()  # type: ignore[attr-defined]
    cache = PrefixCache(model)
    for rows in history:
        ids, seen = tensors(rows)
        context, kwargs = cache.follow(ids, seen)
        assert int(ids.max()) < VOCABULARY
        positions = (seen.cumsum(-1) - 1).clamp(min=0)
        fresh = model(ids, attention_mask=seen.long(), position_ids=positions, output_hidden_states=True).hidden_states[-1]
        expected = torch.nn.functional.normalize(fresh, dim=-1)[seen]
        torch.testing.assert_close(context.states[:, : context.length][seen], expected, atol=1e-4, rtol=1e-4)
        assert kwargs["past_key_values"].get_seq_length() == ids.shape[1]
        assert kwargs["position_ids"][:, -1].tolist() == seen.sum(-1).tolist()
