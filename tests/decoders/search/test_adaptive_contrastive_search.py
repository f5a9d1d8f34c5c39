"""Adaptive contrastive search against its formula from scratch; histories belong to one sequence."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import laws
import references
from counterpoint.decoders import adaptive_contrastive_search
from counterpoint.decoders.search.adaptive_contrastive_search import EntropyRule, deviation, entropy, squash
from families import ALL, Family, prompts

FAMILIES = [family for family in ALL if family.name in ("llama", "gpt2", "gemma3_sliding", "bloom", "mamba", "t5")]
ADAPTIVE = {"custom_generate": adaptive_contrastive_search, "penalty_alpha": None, "top_k": None}
UNLIKE_ROUNDING = 1e-7


@pytest.mark.parametrize("scale", [1.0, 8.0])
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_is_the_formula(family: Family, scale: float) -> None:
    model = family.build()
    ids, mask = laws.batch(family, model)
    tokens = laws.new_tokens(model, ids, mask, entropy_scale=scale, **ADAPTIVE)
    used: set[int] = set()
    for row, found in zip(laws.rows(ids, mask), tokens, strict=True):
        expected = references.adaptive_contrastive_search(model, row, laws.STEPS, scale)
        assert min(expected.margins + expected.edges) > laws.UNLIKE_TIES
        assert min(expected.roundings[1:]) > UNLIKE_ROUNDING
        assert found == expected.tokens
        used |= set(expected.ks)
    assert len(used) > 1, "k never adapted"


def test_a_prompt_does_not_inherit_a_history() -> None:
    model = FAMILIES[0].build()
    laws.l3_calls_do_not_meet(model, **ADAPTIVE)
    laws.l1_rows_are_independent(FAMILIES[0], model, **ADAPTIVE)


def test_history_by_hand() -> None:
    """Uniform over 8, then half the mass on one: d = (H_2 - H_1) / ln 8, the median of one entropy being itself."""
    history: list[torch.Tensor] = []
    uniform, peaked = torch.full((1, 8), 0.125), torch.tensor([[0.5, *[0.5 / 7] * 7]])
    log8 = torch.tensor(8.0).log().item()
    assert deviation(entropy(uniform), history, log8).item() == 0
    h = 0.5 * torch.tensor(2.0).log().item() + 0.5 * torch.tensor(14.0).log().item()
    assert deviation(entropy(peaked), history, log8).item() == pytest.approx((h - log8) / log8, abs=1e-6)


@given(st.floats(-0.999, 0.999), st.floats(0.1, 10))
def test_squash_is_the_power_form(d: float, scale: float) -> None:
    power = ((1 + d) / (1 - d)) ** (scale / 2)
    assert squash(torch.tensor([d], dtype=torch.float64), scale).item() == pytest.approx(power / (1 + power), rel=1e-9)


def test_k_and_alpha_stay_in_range_where_the_formula_has_no_value() -> None:
    rule = EntropyRule(1.0)
    uniform = torch.full((1, 96), 1 / 96)
    certain = torch.tensor([[0.9999, *[0.0001 / 95] * 95]])
    for probabilities in (uniform, certain, certain, uniform, uniform):
        k, alpha = rule(probabilities)
        assert 5 <= k.item() <= 15
        assert 0 <= alpha.item() <= 1


def test_arguments_of_the_fixed_form_change_nothing() -> None:
    model = FAMILIES[0].build()
    ids, mask = prompts(model, laws.LENGTHS)
    changed = {"custom_generate": adaptive_contrastive_search, "penalty_alpha": 0.1, "top_k": 2}
    assert laws.new_tokens(model, ids, mask, **changed) == laws.new_tokens(model, ids, mask, **ADAPTIVE)
