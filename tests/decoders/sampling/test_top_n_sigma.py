"""Top-n-sigma against the rule, computed with the standard library; bans, temperatures and degenerate settings."""

from __future__ import annotations

import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LogitsProcessor, PreTrainedModel

from counterpoint.decoders import TopNSigmaLogitsProcessor, decoder
from counterpoint.decoders.testing import DecoderLaws, tiny_model

IDS = torch.tensor([[5]])
LOGITS = st.lists(st.integers(-400, 400).map(lambda value: value / 8), min_size=3, max_size=20)


class TestTopNSigma(DecoderLaws):
    """Tang et al."""

    decoder = TopNSigmaLogitsProcessor

    def make_processor(self, model: PreTrainedModel) -> LogitsProcessor:
        return TopNSigmaLogitsProcessor(n=1.0)


def kept(logits: list[float], **settings: float) -> set[int]:
    """The tokens that are left of a row of logits."""
    scores = TopNSigmaLogitsProcessor(**settings)(IDS, torch.tensor([logits]))[0].tolist()  # type: ignore[arg-type]
    found = {token for token, score in enumerate(scores) if score > -float("inf")}
    assert all(scores[token] == logits[token] for token in found)
    return found


@given(LOGITS, st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.sets(st.integers(0, 19), max_size=3))
def test_the_rule(logits: list[float], n: float, banned: set[int]) -> None:
    """A banned token has no part in the deviation, and is never kept."""
    finite = {token: z for token, z in enumerate(logits) if token not in banned}
    if len(finite) < 2:
        return
    bound = max(finite.values()) - n * statistics.stdev(finite.values())
    if any(0 < abs(z - bound) < 1e-6 for z in finite.values()):
        return
    row = [-float("inf") if token in banned else z for token, z in enumerate(logits)]
    expected = {token for token, z in finite.items() if z >= bound or z == max(finite.values())}
    assert kept(row, n=n) == expected


@given(LOGITS, st.sampled_from([0.25, 0.5, 2.0, 4.0]))
def test_the_temperature_changes_no_set(logits: list[float], temperature: float) -> None:
    bound = max(logits) - statistics.stdev(logits)
    if all(abs(z - bound) > 1e-6 for z in logits):
        assert kept(logits) == kept([z / temperature for z in logits])


def test_worked_numbers() -> None:
    """With the sample's deviation, 1.8257; the population's is 1.5811, and would keep the same two."""
    row = [4.0, 3.0, 1.0, 0.0]
    assert statistics.stdev(row) == pytest.approx(1.8257, abs=1e-4)
    assert kept(row, n=1.0) == {0, 1}
    assert kept(row, n=0.5) == {0}
    scores = TopNSigmaLogitsProcessor(n=1.0)(IDS, torch.tensor([row]))[0]
    torch.testing.assert_close(scores.softmax(-1), torch.tensor([0.7311, 0.2689, 0.0, 0.0]), atol=5e-5, rtol=0)


def test_degenerate_settings() -> None:
    assert kept([1.0, 3.0, 2.0, 3.0], n=0.0) == {1, 3}
    assert kept([1.0, 3.0, 2.0], n=100.0) == {0, 1, 2}
    assert kept([-float("inf"), 3.0, -float("inf")]) == {1}
    assert kept([0.0, 9.0, 1.0, 2.0], n=0.0, min_tokens_to_keep=3) == {1, 2, 3}


def test_n_0_is_greedy_search() -> None:
    model, ids = tiny_model(), torch.tensor([[7, 8, 9]])
    torch.manual_seed(0)
    sampled = model.generate(ids, **decoder("top_n_sigma:n=0", model), max_new_tokens=8)  # type: ignore[operator]
    assert torch.equal(sampled, model.generate(ids, do_sample=False, max_new_tokens=8))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("settings", "message"), [({"n": -1.0}, "n=-1.0: a number of standard deviations"), ({"min_tokens_to_keep": 0}, "at least one")]
)
def test_errors(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TopNSigmaLogitsProcessor(**settings)  # type: ignore[arg-type]
