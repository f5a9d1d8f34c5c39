"""AdaCAD and COIECD: the papers' rules by probabilities, worked numbers, what released codes get wrong, and degenerate settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel

import contrast_references as references
from counterpoint.decoders import (
    AdaCADLogitsProcessor,
    COIECDLogitsProcessor,
    ContextAwareLogitsProcessor,
    adaptive_extrapolation,
    contrast,
    decoder,
    entropy_constrained,
    extrapolation,
)
from counterpoint.decoders.contrasts.coiecd import usual_tokens
from counterpoint.decoders.contrasts.forms import Form
from counterpoint.decoders.testing import DecoderLaws, tiny_model

OTHER = {"input_ids": torch.tensor([[7, 8, 9]])}
CLOSE = {"atol": 1e-4, "rtol": 1e-4}

logits = st.lists(st.floats(-12, 12, width=32), min_size=6, max_size=6).map(torch.tensor)
bans = st.sets(st.integers(0, 5), max_size=3)


class TestAdaCAD(DecoderLaws):
    """Wang et al."""

    decoder = AdaCADLogitsProcessor

    def make_processor(self, model: PreTrainedModel) -> LogitsProcessor:
        return AdaCADLogitsProcessor(model, OTHER)


class TestCOIECD(DecoderLaws):
    """Yuan et al."""

    decoder = COIECDLogitsProcessor

    def make_processor(self, model: PreTrainedModel) -> LogitsProcessor:
        return COIECDLogitsProcessor(model, OTHER)


def divergence(p: list[float], q: list[float]) -> float:
    """JSD = H(m) - (H(p) + H(q)) / 2 in nats."""

    def entropy(weights: list[float]) -> float:
        return -sum(weight * math.log(weight) for weight in weights if weight > 0)

    return entropy([(a + b) / 2 for a, b in zip(p, q, strict=True)]) - (entropy(p) + entropy(q)) / 2


def adacad_reference(p: Tensor, q: Tensor, minimum: float) -> Tensor:
    """The formula p * (p / q)^b, in double precision."""
    return references.power(max(minimum, divergence(p.tolist(), q.tolist())))(p, q)


def coiecd_reference(p: Tensor, q: Tensor, beta: float, ratio: float) -> Tensor:
    """The sets of one row, token by token; 0 stands for a banned token."""
    present = [weight for weight in p.tolist() if weight > 0]
    high, low = max(present) / ratio, min(present) * ratio
    sure = sum(weight > high for weight in present) == 1
    base = [b if low <= a and (a <= high or sure) else a for a, b in zip(p.tolist(), q.tolist(), strict=True)]
    return (torch.tensor(base, dtype=torch.float64) * (p / q) ** beta).log()


def check_form(form: Form, reference: Callable[[Tensor, Tensor], Tensor], positive: Tensor, negative: Tensor) -> None:
    expected = references.contrast(positive, negative, reference, alpha=0.0)
    torch.testing.assert_close(contrast(positive, negative, form=form, alpha=0.0), expected.float(), **CLOSE)


@given(positive=logits, negative=logits, banned=bans, minimum=st.sampled_from([0.0, 0.3, 1.0]))
def test_adacad_is_the_papers(positive: Tensor, negative: Tensor, banned: set[int], minimum: float) -> None:
    positive = positive.index_fill(0, torch.tensor(sorted(banned), dtype=torch.long), -math.inf)
    form = partial(adaptive_extrapolation, minimum=minimum)
    check_form(form, partial(adacad_reference, minimum=minimum), positive, negative)


@given(
    positive=logits, negative=logits, banned=bans, beta=st.sampled_from([0.0, 0.5, 1.0]), ratio=st.sampled_from([1.5, 4.0, 50.0])
)
def test_coiecd_is_the_papers(positive: Tensor, negative: Tensor, banned: set[int], beta: float, ratio: float) -> None:
    """Banned tokens have no part in the bounds: a probability of 0 would otherwise be the least one."""
    positive = positive.index_fill(0, torch.tensor(sorted(banned), dtype=torch.long), -math.inf)
    finite = positive[positive > -math.inf].double()
    step = math.log(ratio)
    edges = (finite - finite.max() + step).abs().min(), (finite - finite.min() - step).abs().min()
    if min(edges) < 1e-4:
        return
    form = partial(entropy_constrained, beta=beta, ratio=ratio)
    check_form(form, partial(coiecd_reference, beta=beta, ratio=ratio), positive, negative)


def test_worked_numbers() -> None:
    p, q = torch.tensor([0.8, 0.2]).log(), torch.tensor([0.2, 0.8]).log()
    assert divergence([0.8, 0.2], [0.2, 0.8]) == pytest.approx(0.19274, abs=1e-5)
    torch.testing.assert_close(adaptive_extrapolation(p, q).softmax(-1), torch.tensor([0.8722, 0.1278]), atol=5e-5, rtol=0)
    raised = adaptive_extrapolation(p, q, minimum=0.3).softmax(-1)
    torch.testing.assert_close(raised, torch.tensor([0.9019, 0.0981]), atol=5e-5, rtol=0)
    p, q = torch.tensor([0.60, 0.20, 0.12, 0.079, 0.001]).log(), torch.tensor([0.10, 0.15, 0.40, 0.30, 0.05]).log()
    assert usual_tokens(p, ratio=4.0).tolist() == [False, False, True, True, False]
    found = entropy_constrained(p, q)
    torch.testing.assert_close(found, torch.tensor([1.2809, -1.3218, -2.1203, -2.5383, -10.82]), atol=5e-4, rtol=0)
    expected = torch.tensor([0.8855, 0.0656, 0.0295, 0.0194, 0.0])
    torch.testing.assert_close(found.softmax(-1), expected, atol=5e-5, rtol=0)
    alone = torch.tensor([0.9176, 0.0680, 0.0092, 0.0053, 0.0])
    torch.testing.assert_close(extrapolation(p, q, beta=1.0).softmax(-1), alone, atol=5e-5, rtol=0)


FORMS: dict[str, Form] = {"adacad": adaptive_extrapolation, "coiecd": entropy_constrained}


def rows_alone(form: Form) -> None:
    """Rows of a batch get what they get alone: one whose context changes nothing, one that is sure, one that is not."""
    positive = torch.tensor([[0.30, 0.28, 0.2, 0.12, 0.1], [0.9, 0.05, 0.03, 0.015, 0.005], [0.35, 0.3, 0.2, 0.14, 0.01]]).log()
    negative = torch.tensor([[0.30, 0.28, 0.2, 0.12, 0.1], [0.05, 0.05, 0.1, 0.4, 0.4], [0.1, 0.1, 0.2, 0.3, 0.3]]).log()
    together = form(positive, negative)
    for row in range(len(positive)):
        torch.testing.assert_close(together[row], form(positive[row], negative[row]), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", FORMS)
def test_rows_do_not_meet(name: str) -> None:
    rows_alone(FORMS[name])


def batch_mean(positive: Tensor, negative: Tensor) -> Tensor:
    """AdaCAD as released: one strength, the mean of all rows'."""
    p, q = positive.log_softmax(-1), negative.log_softmax(-1)
    pairs = zip(p.reshape(-1, p.shape[-1]).exp().tolist(), q.reshape(-1, q.shape[-1]).exp().tolist(), strict=True)
    strengths = [divergence(*pair) for pair in pairs]
    return extrapolation(p, q, beta=sum(strengths) / len(strengths))


def batch_count(positive: Tensor, negative: Tensor) -> Tensor:
    """COIECD as released: the upper bound is left out if one token of the whole batch exceeds its own row's."""
    p, q = positive.log_softmax(-1), negative.log_softmax(-1)
    above, low = p > p.amax(-1, keepdim=True) - math.log(4), p.amin(-1, keepdim=True) + math.log(4)
    usual = (p >= low) & (~above | (above.sum() == 1))
    return torch.where(usual, q, p) + p - q


@pytest.mark.parametrize("released", [batch_mean, batch_count])
def test_rows_that_meet_are_caught(released: Form) -> None:
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        rows_alone(released)


def test_the_divergence_is_in_nats() -> None:
    """Bits would make the strength 1.44 times as large: distributions that share no token are ln 2 apart."""
    p, q = torch.tensor([0.6, 0.4, 1e-30, 1e-30]).log(), torch.tensor([1e-30, 1e-30, 0.7, 0.3]).log()
    torch.testing.assert_close(adaptive_extrapolation(p, q), extrapolation(p, q, beta=math.log(2)))


def test_zero_probabilities_and_half_precision() -> None:
    """Where the released code raises zeros to 1e-9 in half precision, a token of no probability adds nothing."""
    p, q = torch.tensor([[3.0, 1.0, -200.0]]), torch.tensor([[-200.0, 1.0, 3.0]])
    found = adaptive_extrapolation(p.half(), q.half())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, adaptive_extrapolation(p, q))
    a, b = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))
    assert float(found[0, 1] + math.log(1 / b)) == pytest.approx(0.0, abs=1e-5)  # both give it the same
    strength = divergence([a, b, 0.0], [0.0, b, a])
    torch.testing.assert_close(found, extrapolation(p, q, beta=strength))


@given(positive=logits, one=logits, other=logits)
def test_entropy_has_no_say(positive: Tensor, one: Tensor, other: Tensor) -> None:
    """Which tokens are usual depends on the context's distribution alone: the prior's entropy cancels, as in the released code."""
    p = positive.log_softmax(-1)
    usual = usual_tokens(p, ratio=4.0)
    for negative in (one, other):
        q = negative.log_softmax(-1)
        assert torch.equal(entropy_constrained(positive, negative, beta=0.0), torch.where(usual, q, p))
        shifted = (-p - -(q.exp() * q).sum()).softmax(-1)  # the paper's softmax of information less entropy
        torch.testing.assert_close(shifted, (-p).softmax(-1), **CLOSE)


@given(positive=logits, negative=logits)
def test_degenerate_forms_are_known_ones(positive: Tensor, negative: Tensor) -> None:
    model = positive.log_softmax(-1)
    for form in FORMS.values():
        torch.testing.assert_close(form(positive, positive), model)
    stronger = adaptive_extrapolation(positive, negative, minimum=0.8)
    torch.testing.assert_close(stronger, extrapolation(positive, negative, beta=0.8), **CLOSE)
    everywhere = entropy_constrained(positive, negative, beta=0.7, ratio=1e30)
    torch.testing.assert_close(everywhere, extrapolation(positive, negative, beta=0.7), **CLOSE)
    torch.testing.assert_close(entropy_constrained(positive, negative, ratio=1.0), model, **CLOSE)


def text(model: Any, processor: Any) -> list[int]:
    ids = model.generate(torch.tensor([[11, 12, 13, 14]]), logits_processor=[processor], max_new_tokens=12, do_sample=False)
    found: list[int] = ids[0].tolist()
    return found


def test_degenerate_settings_are_context_aware_decoding() -> None:
    model = tiny_model()
    expected = text(model, ContextAwareLogitsProcessor(model, OTHER, beta=1.0))
    assert text(model, AdaCADLogitsProcessor(model, OTHER, minimum=1.0)) == expected
    assert text(model, COIECDLogitsProcessor(model, OTHER, beta=1.0, ratio=1e30)) == expected
    assert text(model, COIECDLogitsProcessor(model, OTHER)) != text(model, AdaCADLogitsProcessor(model, OTHER))


def test_by_name(expert: Any, tokenizer: Any) -> None:
    """The context is what precedes the last blank line."""
    prompt = "It was a cold day on the sea.\n\nThe whale rose"
    without = tokenizer("The whale rose", return_tensors="pt")
    inputs = tokenizer(prompt, return_tensors="pt")
    for choice, processor in (
        ("adacad:minimum=0.3", AdaCADLogitsProcessor(expert, without, minimum=0.3)),
        ("coiecd:beta=0.5,ratio=3", COIECDLogitsProcessor(expert, without, beta=0.5, ratio=3.0)),
    ):
        named = expert.generate(**inputs, **decoder(choice, expert, tokenizer, prompts=[prompt]), max_new_tokens=8)
        made = expert.generate(**inputs, logits_processor=[processor], do_sample=False, max_new_tokens=8)
        assert torch.equal(named, made)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (AdaCADLogitsProcessor, {"minimum": -0.1}, "minimum=-0.1: AdaCAD's least strength"),
        (COIECDLogitsProcessor, {"beta": -1.0}, "beta=-1.0: COIECD's strength"),
        (COIECDLogitsProcessor, {"ratio": 0.5}, "ratio=0.5: the bounds of usual tokens need 1 or more"),
        (COIECDLogitsProcessor, {"ratio": math.nan}, "ratio=nan"),
    ],
)
def test_errors(kind: Any, settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(tiny_model(), OTHER, **settings)
