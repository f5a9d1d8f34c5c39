"""The tiny models are sound: varied logits and texts, and transformers' own generation is right with them.

Exceptions are transformers' own. The recurrences of ``rwkv`` and ``recurrent_gemma`` read padding as text, so a left-padded row
differs from the row alone. Falcon adds its alibi biases twice in eager attention, so eager and sdpa are two models there.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from counterpoint.decoders.hf.caches import CACHE
from families import (
    ALL,
    BOS,
    ENCODER_DECODER,
    EOS,
    FIRST_WORD,
    PAD,
    RECURRENT,
    SPREAD,
    STATELESS,
    TREE,
    VOCABULARY,
    Family,
    _build,
    prompts,
)
from references import forward, greedy

LENGTHS = [5, 13, 9]
STEPS = 8
BY_FAMILY = pytest.mark.parametrize("family", ALL, ids=str)
BUILDS = [(family, attention) for family in ALL for attention in family.attentions]
TWO_ATTENTIONS = [family for family in ALL if len(family.attentions) == 2 and family.name != "falcon_alibi"]
NO_TREE = [family for family in ALL if family not in TREE + ENCODER_DECODER and family.name != "llama4_chunked"]


class Text(NamedTuple):
    """New tokens [rows, steps] and the raw logits [steps, rows, vocabulary] they were taken from."""

    tokens: Tensor
    logits: Tensor


@cache
def continued(family: Family, row: int | None = None) -> Text:
    """The greedy continuation of the padded batch, or of one of its rows without padding."""
    model: Any = family.build()
    ids, mask = prompts(model, LENGTHS, "right" if family in ENCODER_DECODER else "left")
    if row is not None:
        keep = mask[row].bool()
        ids, mask = ids[row : row + 1, keep], mask[row : row + 1, keep]
    output = model.generate(
        ids,
        attention_mask=mask,
        do_sample=False,
        min_new_tokens=STEPS,
        max_new_tokens=STEPS,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return Text(output.sequences[:, -STEPS:], torch.stack(output.logits))


def without_eos(_: Tensor, logits: Tensor) -> Tensor:
    """What ``min_new_tokens`` does."""
    return logits.index_fill(-1, torch.tensor(EOS), -torch.inf)


@pytest.mark.parametrize(("family", "attention"), BUILDS, ids=[f"{family}-{attention}" for family, attention in BUILDS])
def test_build(family: Family, attention: str) -> None:
    model = family.build(attention)
    assert model is family.build(attention)
    assert model.config._attn_implementation == attention
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.num_parameters() < 150_000
    assert model.get_output_embeddings().out_features == VOCABULARY
    settings = model.generation_config
    assert (settings.pad_token_id, settings.bos_token_id, settings.eos_token_id) == (PAD, BOS, EOS)
    constant = [name for name, weight in model.named_parameters() if weight.numel() > 1 and weight.unique().numel() == 1]
    assert not constant


def test_building_is_deterministic_and_leaves_the_random_state_alone() -> None:
    family = ALL[0]
    before = torch.random.get_rng_state()
    again = _build.__wrapped__(family, "sdpa")
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), family.build("sdpa").parameters(), strict=True))


def test_names_are_unique() -> None:
    assert len({family.name for family in ALL}) == len(ALL)


@BY_FAMILY
def test_a_padded_row_is_the_row_alone(family: Family) -> None:
    batch = continued(family)
    rows = [continued(family, row) for row in (0, 1)]
    difference = max(float((batch.logits[0, i] - row.logits[0, 0]).abs().max()) for i, row in enumerate(rows))
    same = difference < 1e-4 and torch.equal(batch.tokens[:2], torch.cat([row.tokens for row in rows]))
    assert same == family.padded, difference


@BY_FAMILY
def test_logits_are_spread(family: Family) -> None:
    logits = continued(family).logits
    assert abs(float(logits.std(dim=-1).mean()) - SPREAD) < 0.6
    best = logits.topk(16).values
    assert float((best[..., :-1] - best[..., 1:]).median()) > 0.05


@BY_FAMILY
def test_greedy_text_is_not_one_token_repeated(family: Family) -> None:
    _, middle, most = sorted(len(set(row)) for row in continued(family).tokens.tolist())
    assert middle >= 2
    assert most >= 3


@BY_FAMILY
def test_cached_generation_is_generation_from_scratch(family: Family) -> None:
    row = LENGTHS.index(max(LENGTHS))  # without padding
    ids = prompts(family.build(), LENGTHS)[0][row : row + 1]
    assert greedy(family.build(), ids, STEPS, [without_eos]) == continued(family, row).tokens[0].tolist()


@pytest.mark.parametrize("family", TWO_ATTENTIONS, ids=str)
def test_attentions_agree(family: Family) -> None:
    ids, _ = prompts(family.build(), [20])
    logits = [forward(family.build(attention), ids, [10, 20, 30])[0] for attention in family.attentions]
    torch.testing.assert_close(*logits, atol=1e-4, rtol=0)


def tree_error(family: Family, attention: str, length: int) -> float:
    """How far three candidates' hidden states, taken as one masked sequence, are from those taken one by one."""
    model, candidates = family.build(attention), [10, 50, 90]
    ids, _ = prompts(model, [length])
    size = length + len(candidates)
    seen = torch.ones(size, size, dtype=torch.bool).tril()
    seen[length:, length:] = torch.eye(len(candidates), dtype=torch.bool)
    output = model(
        input_ids=torch.cat([ids, torch.tensor([candidates])], dim=1),
        attention_mask=torch.zeros(1, 1, size, size).masked_fill(~seen, torch.finfo(torch.float32).min),
        position_ids=torch.tensor([[*range(length), *[length] * len(candidates)]]),
        output_hidden_states=True,
        use_cache=False,
    )
    apart = torch.stack([forward(model, ids, [candidate])[1][-1] for candidate in candidates])
    return float((output.hidden_states[-1][0, length:] - apart).abs().max())


@pytest.mark.parametrize("family", TREE, ids=str)
def test_candidates_of_tree_families_fit_in_one_sequence(family: Family) -> None:
    assert max(tree_error(family, attention, length=5) for attention in family.attentions) < 1e-4


@pytest.mark.parametrize("family", NO_TREE, ids=str)
def test_candidates_of_other_families_do_not(family: Family) -> None:
    try:
        error = tree_error(family, family.attentions[0], length=20)
    except (ValueError, RuntimeError):  # the 4-D mask is refused
        return
    assert error > 0.1


@pytest.mark.parametrize("family", RECURRENT + STATELESS, ids=str)
def test_only_reachable_states_come_back_as_a_cache(family: Family) -> None:
    model = family.build()
    output = model(input_ids=prompts(model, [5])[0], use_cache=True)
    cache_returned = next((output[name] for name in (CACHE, "cache_params") if output.get(name) is not None), None)
    assert hasattr(cache_returned, "reorder_cache") == (family in RECURRENT)


def test_prompts() -> None:
    model = ALL[0].build()
    left, mask = prompts(model, [2, 4])
    right, right_mask = prompts(model, [2, 4], padding="right")
    assert mask.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert right_mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert torch.equal(left[mask.bool()], right[right_mask.bool()])
    assert left[~mask.bool()].tolist() == [PAD, PAD]
    assert left[mask.bool()].min() >= FIRST_WORD
    assert torch.equal(left, prompts(model, [2, 4])[0])
