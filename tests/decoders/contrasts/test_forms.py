"""The arithmetic of contrast is the papers', over any values and shapes."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import MinPLogitsWarper

import contrast_references as references
from counterpoint.decoders import (
    contrast,
    extrapolation,
    likelihood_ratio,
    log_ratio,
    plausible,
    released_induce_then_contrast,
    released_likelihood_ratio,
    released_normalised_ratio,
)
from counterpoint.decoders.contrasts.forms import Form, allowed_by

FORMS: dict[str, tuple[Form, references.Form]] = {
    "ratio": (likelihood_ratio, references.ratio()),
    "ratio, cold amateur": (partial(likelihood_ratio, amateur_temperature=0.5), references.ratio(0.5)),
    "ratio, hot amateur": (partial(likelihood_ratio, amateur_temperature=3.0), references.ratio(3.0)),
    "released ratio": (released_likelihood_ratio, references.released_ratio()),
    "released ratio, 0.8": (
        partial(released_likelihood_ratio, amateur_temperature=1.0, coefficient=0.8),
        references.released_ratio(1.0, 0.8),
    ),
    "extrapolation": (extrapolation, references.power()),
    "extrapolation, 2": (partial(extrapolation, beta=2.0), references.power(2.0)),
    "log ratio": (log_ratio, references.weighted_ratio()),
    "log ratio, 2": (partial(log_ratio, beta=2.0), references.weighted_ratio(2.0)),
    "released normalised ratio": (released_normalised_ratio, references.normalised_ratio()),
    "released gain": (released_induce_then_contrast, references.released_gain()),
}
CLOSE = {"atol": 1e-4, "rtol": 1e-4}

logits = st.lists(st.floats(-12, 12, width=32), min_size=6, max_size=6).map(torch.tensor)
alphas = st.floats(0, 1)


def off_the_edge(positive: Tensor, alpha: float) -> bool:
    """No token's probability is alpha times the largest one up to rounding, but for the largest itself."""
    p = positive.double().softmax(-1)
    clear = (p - alpha * p.max()).abs() > 1e-6 * p.max()
    return alpha == 0 or bool((clear | (positive == positive.max())).all())


@pytest.mark.parametrize("name", FORMS)
@given(positive=logits, negative=logits, alpha=alphas, banned=st.sets(st.integers(0, 5), max_size=4))
def test_scores_are_the_papers(name: str, positive: Tensor, negative: Tensor, alpha: float, banned: set[int]) -> None:
    """Also where other processors have banned tokens: both distributions are then over the others."""
    positive = positive.index_fill(0, torch.tensor(sorted(banned), dtype=torch.long), -math.inf)
    if not off_the_edge(positive, alpha):
        return
    form, reference = FORMS[name]
    expected = references.contrast(positive, negative, reference, alpha)
    torch.testing.assert_close(contrast(positive, negative, form=form, alpha=alpha), expected.float(), **CLOSE)


@given(positive=logits, alpha=alphas)
def test_the_plausible_set_is_that_of_min_p(positive: Tensor, alpha: float) -> None:
    """Which transformers has, computed from probabilities."""
    if not off_the_edge(positive, alpha):
        return
    kept = MinPLogitsWarper(min_p=alpha)(torch.zeros(1, 0), positive[None])[0] > -math.inf
    assert torch.equal(plausible(positive, alpha=alpha), kept)


@given(positive=logits, alpha=alphas, other=alphas)
def test_a_larger_alpha_keeps_fewer_tokens_and_always_the_best(positive: Tensor, alpha: float, other: float) -> None:
    small, large = sorted([alpha, other])
    few, many = plausible(positive, alpha=large), plausible(positive, alpha=small)
    assert bool((many | ~few).all())
    assert few[positive.argmax()]
    assert torch.equal(plausible(positive, alpha=1.0), positive == positive.max())
    assert plausible(positive, alpha=0.0).all()


@pytest.mark.parametrize("name", FORMS)
@given(positive=logits, negative=logits, shifts=st.tuples(st.floats(-50, 50), st.floats(-50, 50)))
def test_logits_and_log_probabilities_are_the_same(
    name: str, positive: Tensor, negative: Tensor, shifts: tuple[float, float]
) -> None:
    form, _ = FORMS[name]
    found = contrast(positive + shifts[0], negative + shifts[1], form=form, alpha=0.0)
    torch.testing.assert_close(found, contrast(positive.log_softmax(-1), negative.log_softmax(-1), form=form, alpha=0.0), **CLOSE)


@pytest.mark.parametrize("name", FORMS)
def test_generation_and_scoring_have_one_arithmetic(name: str) -> None:
    """Rows and positions are computed each by itself, whatever the dtype, and in float32."""
    generator = torch.Generator().manual_seed(0)
    positive, negative = (4 * torch.randn(3, 5, 20, generator=generator) for _ in range(2))
    form, _ = FORMS[name]
    together = contrast(positive, negative, form=form)
    for row in range(3):
        for position in range(5):
            torch.testing.assert_close(
                contrast(positive[row, position], negative[row, position], form=form), together[row, position]
            )
    half = contrast(positive.bfloat16(), negative.bfloat16(), form=form)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, contrast(positive.bfloat16().float(), negative.bfloat16().float(), form=form))


@given(positive=logits, negative=logits)
def test_degenerate_settings_are_known_methods(positive: Tensor, negative: Tensor) -> None:
    expert = positive.log_softmax(-1)
    torch.testing.assert_close(extrapolation(positive, negative, beta=0.0), expert)
    torch.testing.assert_close(contrast(positive, negative, form=partial(extrapolation, beta=0.0), alpha=0.0), expert)
    torch.testing.assert_close(log_ratio(positive, negative, beta=1.0), likelihood_ratio(positive, negative))
    released = released_likelihood_ratio(positive, negative, amateur_temperature=1.0)
    torch.testing.assert_close(released, likelihood_ratio(positive, negative))
    torch.testing.assert_close(likelihood_ratio(positive, positive), torch.zeros(6))
    gain = extrapolation(positive, negative, beta=1e3) / 1e3  # Li et al.'s objective is the limit
    torch.testing.assert_close(gain, likelihood_ratio(positive, negative), atol=0.1, rtol=1e-2)
    greedy = contrast(positive, negative, alpha=1.0) > -math.inf
    assert torch.equal(greedy, positive == positive.max())
    know_nothing = contrast(positive, torch.zeros(6), alpha=0.0)
    assert know_nothing[positive.argmax()] == know_nothing.max()


@given(positive=logits, negative=logits)
def test_released_greedy_search_is_raw_logits(positive: Tensor, negative: Tensor) -> None:
    """Li et al.'s code takes z_e - c z_a / tau there, without a plausible set: one constant a row away from this form."""
    difference = released_likelihood_ratio(positive, negative, amateur_temperature=0.5, coefficient=0.8) - (
        positive - 0.8 * negative / 0.5
    )
    torch.testing.assert_close(difference, difference[:1].expand(6), atol=1e-3, rtol=1e-3)


def test_a_temperature_is_no_coefficient() -> None:
    """Trap: softmax(z / tau) is not what dividing log-probabilities by tau gives, and beams see the difference."""
    positive, negative = torch.tensor([2.0, 0.0, -1.0]), torch.tensor([1.0, 0.5, -2.0])
    cold = likelihood_ratio(positive, negative, amateur_temperature=0.5)
    released = released_likelihood_ratio(positive, negative, amateur_temperature=0.5)
    assert (cold - released).abs().min() > 0.1


def test_a_token_that_the_amateur_excludes_is_banned() -> None:
    """As in Li et al.'s code, where it would otherwise win by an infinite ratio."""
    found = contrast(torch.tensor([1.0, 0.9, 0.8]), torch.tensor([0.0, -math.inf, 0.0]))
    assert found.isneginf().tolist() == [False, True, False]


def test_bans_pass_from_the_positive_to_layers_of_negatives() -> None:
    banned = torch.tensor([[0.0, -math.inf], [-math.inf, 0.0]])
    found = allowed_by(banned, torch.ones(3, 2, 2))
    assert torch.equal(found, torch.tensor([[1.0, -math.inf], [-math.inf, 1.0]]).expand(3, 2, 2))


def test_nothing_is_changed_in_place() -> None:
    positive, negative = torch.tensor([0.0, -math.inf, 1.0]), torch.tensor([1.0, 2.0, 3.0])
    before = positive.clone(), negative.clone()
    for form, _ in FORMS.values():
        contrast(positive, negative, form=form)
    assert torch.equal(positive, before[0])
    assert torch.equal(negative, before[1])
