"""P-less sampling against the rule, computed with fractions of the standard library; bans, temperatures and degenerate settings."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LogitsProcessor, PreTrainedModel

from counterpoint.decoders import PLessLogitsProcessor, Score, decoder, score
from counterpoint.decoders.choosing.front_door import scoring_processors
from counterpoint.decoders.choosing.specs import parse
from counterpoint.decoders.named import TABLE
from counterpoint.decoders.sampling.p_less import above_agreement
from counterpoint.decoders.testing import DecoderLaws, tiny_model

IDS = torch.tensor([[5]])
WEIGHTS = st.lists(st.integers(1, 1000), min_size=2, max_size=20)


class TestPLess(DecoderLaws):
    """Tan et al."""

    decoder = PLessLogitsProcessor

    def make_processor(self, model: PreTrainedModel) -> LogitsProcessor:
        return PLessLogitsProcessor(min_tokens_to_keep=4)


def kept(logits: list[float], **settings: Any) -> set[int]:
    """The tokens that are left of a row of logits, as they were."""
    row = torch.tensor([logits])
    scores = PLessLogitsProcessor(**settings)(IDS, row)[0]
    found = {token for token, each in enumerate(scores.tolist()) if each > -math.inf}
    assert all(scores[token] == row[0, token] for token in found)
    return found


@given(WEIGHTS, st.booleans(), st.sets(st.integers(0, 19), max_size=3))
def test_the_rule(weights: list[int], norm: bool, banned: set[int]) -> None:
    """A banned token has no part in the threshold, and is never kept."""
    allowed = {token: weight for token, weight in enumerate(weights) if token not in banned}
    if len(allowed) < 2:
        return
    p = {token: Fraction(weight, sum(allowed.values())) for token, weight in allowed.items()}
    agreement = sum(each * each for each in p.values())
    bound = (len(p) * agreement - 1) / (len(p) - 1) if norm else agreement
    if any(0 < abs(each - bound) < Fraction(1, 10**6) for each in p.values()):
        return
    row = [-math.inf if token in banned else math.log(weight) for token, weight in enumerate(weights)]
    assert kept(row, norm=norm) == {token for token, each in p.items() if each >= bound or each == max(p.values())}


def test_worked_numbers() -> None:
    row = [math.log(each) for each in (0.5, 0.3, 0.15, 0.05)]
    assert sum(each * each for each in (0.5, 0.3, 0.15, 0.05)) == pytest.approx(0.365)
    assert kept(row) == {0}
    lower = (4 * 0.365 - 1) / 3
    assert lower == pytest.approx(0.1533, abs=1e-4)
    assert kept(row, norm=True) == {0, 1}


@pytest.mark.parametrize("size", [2, 7, 8192, 50257])
def test_degenerate_rows(size: int) -> None:
    """All tokens of a uniform row, whatever its sum is rounded to; the one of a certain row."""
    assert len(kept([0.3] * size)) == len(kept([0.3] * size, norm=True)) == size
    certain = [200.0] + [0.0] * (size - 1)
    assert kept(certain) == kept(certain, norm=True) == {0}
    alone = [-math.inf] * (size - 1) + [1.0]
    assert kept(alone) == kept(alone, norm=True) == {size - 1}


def test_a_certain_model_is_greedy_search() -> None:
    model, ids = tiny_model(), torch.tensor([[7, 8, 9]])
    torch.manual_seed(0)
    sampled = model.generate(ids, **decoder("p_less:temperature=0.001", model), max_new_tokens=8)  # type: ignore[operator]
    assert torch.equal(sampled, model.generate(ids, do_sample=False, max_new_tokens=8))  # type: ignore[operator]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_the_set_is_that_of_the_temperature(temperature: float) -> None:
    """Which ``generate`` applies afterwards; the scores that it draws by are those of the rule at this temperature."""
    model: Any = tiny_model()
    torch.manual_seed(1)
    arguments = decoder("p_less", model, temperature=temperature)
    output = model.generate(
        torch.tensor([[7, 8, 9]]),
        **arguments,
        max_new_tokens=6,
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
    )
    narrow = 0
    for logits, scores in zip(output.logits, output.scores, strict=True):
        p = [math.exp(each / temperature) for each in logits[0].tolist()]
        total, squares = sum(p), sum(each * each for each in p)
        expected = [each / total >= squares / total**2 for each in p]
        assert (scores[0] > -math.inf).tolist() == expected
        torch.testing.assert_close(scores[0, expected], logits[0, expected] / temperature)
        narrow += kept(logits[0].tolist()) != {token for token, is_kept in enumerate(expected) if is_kept}
    assert bool(narrow) == (temperature != 1.0)  # so that a set at temperature 1 would be seen


@pytest.mark.parametrize(
    "choice", ["p_less:temperature=1.7", "top_n_sigma:temperature=0.6,n=2.0", "p_less:top_k=2,temperature=1.7"]
)
def test_scores_by_name_are_those_that_were_drawn_from(choice: str) -> None:
    model: Any = tiny_model()
    torch.manual_seed(2)
    settings = dict(max_new_tokens=6, return_dict_in_generate=True, output_scores=True)
    chosen = f"{choice},repetition_penalty=1.3"
    output = model.generate(torch.tensor([[7, 8, 9]]), **decoder(chosen, model), **settings)
    new = output.sequences[0, 3:].tolist()
    ((found,),) = score(model, None, [[7, 8, 9]], [[new]], scoring_processors(parse(chosen, TABLE), model, None))
    drawn = torch.stack(output.scores)[:, 0].log_softmax(dim=-1)[range(len(new)), new]
    torch.testing.assert_close(torch.tensor(found.log_probabilities), drawn, atol=1e-4, rtol=1e-4)
    ((plain,),) = score(model, None, [[7, 8, 9]], [[new]], decoder(chosen, model)["logits_processor"])
    assert (torch.tensor(plain.log_probabilities) - drawn).abs().max() > 1e-3  # the processors alone are at temperature 1


def test_greedy_search_and_scores_know_no_temperature() -> None:
    """Where nothing is drawn, generate divides by none."""
    model: Any = tiny_model()
    ids = torch.tensor([[7, 8, 9]])
    found = model.generate(ids, logits_processor=[PLessLogitsProcessor(min_tokens_to_keep=4)], do_sample=False, max_new_tokens=6)
    assert torch.equal(found, model.generate(ids, do_sample=False, max_new_tokens=6))
    ((given,),) = score(model, None, [[7, 8, 9]], [[found[0, 3:].tolist()]], PLessLogitsProcessor())
    assert all(-math.inf < each <= 0 for each in given.log_probabilities)


def test_a_row_does_not_know_the_others() -> None:
    rows = torch.tensor([[0.4, 0.39, 0.21], [0.9, 0.05, 0.05], [0.34, 0.33, 0.33]]).log()
    together = PLessLogitsProcessor()(IDS.expand(3, 1), rows)
    assert [int((row > -math.inf).sum()) for row in together] == [len(kept(row.tolist())) for row in rows] == [2, 1, 1]


def test_least_numbers_of_tokens() -> None:
    assert kept([9.0, 1.0, 5.0, 0.0], min_tokens_to_keep=2) == {0, 2}
    with pytest.raises(ValueError, match="min_tokens_to_keep=0: at least one token is kept"):
        PLessLogitsProcessor(min_tokens_to_keep=0)


def test_scores_within_a_generation_have_its_temperature_no_more_than_others() -> None:
    """A ranker that scores texts by p-less while a search samples at a temperature."""
    model: Any = tiny_model(0)
    ids = torch.tensor([[5, 6, 7]])
    likeliest = int(model(ids).logits[0, -1].argmax())

    def scored() -> list[list[Score]]:
        return score(model, None, [[5, 6, 7]], [[[likeliest]]], PLessLogitsProcessor())

    seen = []

    class Scoring(LogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            seen.append(scored())
            return scores

    model.generate(ids, logits_processor=[Scoring()], do_sample=True, temperature=5.0, max_new_tokens=1, pad_token_id=0)
    assert seen == [scored()]
    sets = [above_agreement(model(ids).logits[0, -1] / temperature).sum() for temperature in (1.0, 5.0)]
    assert sets[0] != sets[1], "another temperature would be another set, else this shows nothing"
