"""Votes: answers found in texts, counted from scratch, weighed and kept as the papers say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from counterpoint.eval import AMATEUR
from counterpoint.eval.choosing import parse_decoder, parse_rankers
from counterpoint.rankers import (
    CandidateScorer,
    CombinedRanker,
    ConsensusRanker,
    OverlapRanker,
    Ranker,
    VoteRanker,
    best_of,
    normalised,
    ranked_search,
    rerank,
)
from counterpoint.rankers.base import Texts
from counterpoint.rankers.judges.answers import automatic, boxed, choice_letter, extractor, last_number


class Given(Ranker):
    """Scores that a test gives, by text."""

    comparable = True

    def __init__(self, scores: dict[str, float]) -> None:
        self.scores = scores

    def prepare(self, prefixes: Texts) -> CandidateScorer:
        return lambda candidates: [torch.tensor([self.scores[text] for text in texts]) for texts in candidates]


def vote(answers: Sequence[str], weights: Sequence[float] | None = None, **options: Any) -> list[float]:
    """The scores of texts with these answers, "-" for none."""
    texts = [f" {place}: {answer}" for place, answer in enumerate(answers)]
    ranker = None if weights is None else Given(dict(zip(texts, weights, strict=True)))
    found = VoteRanker(ranker, answer=lambda text: None if text.endswith("-") else text.partition(": ")[2], **options)
    return found.score(["?"], [texts])[0].tolist()


def order(scores: Sequence[float]) -> list[int]:
    """Places, best first."""
    return sorted(range(len(scores)), key=lambda place: -scores[place])


def test_the_worked_number() -> None:
    assert vote("353-") == pytest.approx([2 / 3, 1 / 3, 2 / 3, 0])


@pytest.mark.parametrize(("power", "first", "totals"), [(1.0, "a", (5, 5)), (0.5, "b", (3.0, 3.146)), (1.2, "a", (6.278, 6.035))])
def test_the_worked_borda_counts(power: float, first: str, totals: tuple[float, float]) -> None:
    found = vote("abba", [0.9, 0.5, 0.7, 0.1], power=power)
    assert "abba"[order(found)[0]] == first
    a, b = totals
    assert found[3] == pytest.approx(a / (a + b), abs=1e-3)
    assert found[1] == pytest.approx(b / (a + b), abs=1e-3)


def test_the_winners_text_with_the_highest_weight_is_first() -> None:
    found = vote("abab", [0.2, 0.9, 0.8, 0.05])
    assert order(found) == [2, 0, 1, 3]
    assert order(vote("abab")) == [0, 1, 2, 3]


def test_a_weighted_answer_is_not_overwritten_by_the_plain_majority() -> None:
    """DeepConf's released default returns the unweighted majority."""
    texts = [" so 7", " so 4", " so 4"]
    weights = Given(dict(zip(texts[:2], [0.9, 0.2], strict=True)))
    best = rerank(VoteRanker(weights), "?", texts)
    assert best.texts[0] == " so 7"
    assert best.scores == pytest.approx([0.9 / 1.3, 0.4 / 1.3, 0.4 / 1.3], abs=1e-3)
    assert rerank(VoteRanker(), "?", texts).texts[0] == " so 4"


def test_power_0_is_the_majority_and_all_different_the_best_by_weight() -> None:
    assert order(vote("abcb", [0.9, 0.3, 0.7, 0.1], power=0.0)) == [1, 3, 0, 2]  # of a and c, which tie, a weighs more
    assert order(vote("abcd")) == [0, 1, 2, 3]
    assert order(vote("abcd", [0.1, 0.4, 0.3, 0.2])) == [1, 2, 3, 0]
    assert vote("a") == [1.0]


def test_constant_weights_are_one_vote_each() -> None:
    """Whatever the constant is, by scores and by ranks; and a text alone has all votes."""
    answers = ["3", "5", "3", "-", "7"]
    for options in ({}, {"power": 2.0}, {"keep": 0.1}):
        assert vote(answers, [0.4] * 5, **options) == pytest.approx(vote(answers))
    assert vote(["4"]) == vote(["4"], [0.2]) == [1.0]


def test_empty_answers() -> None:
    assert vote("---") == [0.0] * 3
    assert vote("a-a", [0.1, 5.0, 0.1]) == pytest.approx([1.0, 0.0, 1.0])
    assert vote("-b", [0.0, 0.0]) == [0.0, 1.0]  # weights that are all 0 say nothing
    assert VoteRanker(answer=lambda text: " . ").score(["?"], [[" a"]])[0].tolist() == [0.0]


@settings(max_examples=80)
@given(st.lists(st.tuples(st.sampled_from("abc-"), st.integers(0, 20)), min_size=1, max_size=9))
def test_weighted_votes_from_scratch(texts: list[tuple[str, int]]) -> None:
    answers, weights = "".join(answer for answer, _ in texts), [float(weight) for _, weight in texts]
    total: Counter[str] = Counter()
    for answer, weight in zip(answers, weights, strict=True):
        total[answer] += 0 if answer == "-" else int(weight)
    everything = sum(total.values())
    if not everything:
        return
    found = vote(answers, weights)
    expected = sorted(range(len(answers)), key=lambda place: (answers[place] != "-" and -total[answers[place]], -weights[place]))
    for one, other in zip(order(found), expected, strict=True):
        if answers[one] != answers[other]:  # equal votes and equal weights keep their order; banned ones are alike
            assert total[answers[one]] == total[answers[other]]
    gap = min((abs(a - b) for a in {0, *total.values()} for b in total.values() if a != b), default=0)
    for place, answer in enumerate(answers):
        assert total[answer] / everything - 1e-6 <= found[place] <= (total[answer] + gap / 2) / everything + 1e-6


@pytest.mark.parametrize("keep", [0.1, 0.25, 0.5, 0.9])
def test_only_the_surest_vote(keep: float) -> None:
    """The quantile is NumPy's, of the texts that have an answer."""
    weights = [0.31, 0.2, 0.95, 0.4, 0.45, 0.9, 8.0]
    answers = "aabbac-"
    least = numpy.percentile(weights[:6], 100 * (1 - keep))
    total: Counter[str] = Counter()
    for answer, weight in zip(answers, weights, strict=True):
        if answer != "-" and weight >= least:
            total[answer] += weight  # type: ignore[assignment]
    found = vote(answers, weights, keep=keep)
    assert answers[order(found)[0]] == max(total, key=lambda answer: total[answer])
    assert found[6] == 0


def test_what_is_no_vote_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"Given gave a weight of -1, and votes are 0 or more: pass power=1.0"):
        vote("ab", [1.0, -1.0])
    with pytest.raises(ValueError, match="a weight of inf"):
        vote("ab", [1.0, math.inf])
    assert order(vote("abb", [1.0, -math.inf, 0.5])) == [0, 2, 1]  # what a ranker bans has no vote
    for options, message in (
        ({"answer": "(a"}, r"answer='\(a' is neither auto, boxed, number, choice nor a regular expression"),
        ({"keep": 0.0}, "keep=0.0"),
        ({"keep": 0.5}, "keep=0.5 is of the scores of a ranker, and there is none"),
        ({"power": 1.0}, "power=1.0 is of the scores of a ranker"),
    ):
        with pytest.raises(ValueError, match=message):
            VoteRanker(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="power=-1"):
        VoteRanker(OverlapRanker(), power=-1.0)


def test_exact_match_consensus_has_the_same_order() -> None:
    texts = [" so 3", " so 5", " 3", " it is 4", " 5.", " so, 3"]
    answers = VoteRanker().answers(texts)

    def match(one: Texts, other: Texts) -> torch.Tensor:
        return torch.tensor([[float(last_number(a) == last_number(b)) for b in other] for a in one])

    same = ConsensusRanker(utility=match)
    assert answers == ["3", "5", "3", "4", "5", "3"]
    assert rerank(VoteRanker(), "?", texts).order == rerank(same, "?", texts).order


def test_answers_that_a_function_finds_equal() -> None:
    ranker = VoteRanker(equal=lambda one, other: float(one) == float(other))
    assert ranker.answers([" 5", " 5.0", " 6", " -", " 5.00"]) == ["5", "5", "6", None, "5"]
    assert ranker.score(["?"], [[" 5", " 5.0", " 6"]])[0].tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3])


@pytest.mark.parametrize(
    ("extract", "text", "answer"),
    [
        (automatic, "The answer is 3.5. Bye 7.", "3.5"),
        (automatic, "the Answer is: Paris\nor 5", "Paris"),
        (automatic, r"answer is 4, that is $\boxed{{5}}$", "{5}"),
        (boxed, r"\boxed{1} then \boxed{2", None),
        (boxed, "", None),
        (last_number, "1,234.5 and 12,34", "34"),
        (last_number, "v2 x-3 (-4)", "-4"),
        (choice_letter, "Answer: C", "C"),
        (choice_letter, "**B**", "B"),
        (choice_letter, "A dog's answer", None),
        (choice_letter, "I think so", None),
        (extractor(r"\d+"), "1 2 3", "3"),
        (extractor(r"x=(\d+)"), "x=1 x=2 3", "2"),
    ],
)
def test_extraction(extract: Callable[[str], str | None], text: str, answer: str | None) -> None:
    assert extract(text) == answer


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,000", "1000"),
        (r"\dfrac12", r"\frac12"),
        (r"\text{ blue }", "blue"),
        (r"\left[0, 1\right]", "[0,1]"),
        ("$5$.", "5"),
        (".25", "0.25"),
        (r"\$18", "18"),
    ],
)
def test_normal_forms(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(("one", "other"), [("(1,2)", "12"), ("1,2", "12"), (r"\leftarrow", "arrow"), ("-5", "5"), ("0.5", "5")])
def test_answers_that_stay_apart(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def generate(ranker: Ranker, method: Any = best_of, **options: Any) -> Any:
    """Samples of the embedded amateur, of which the ranker chooses."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
    set_seed(1)
    return model.generate(
        **tokenizer("The whale was", return_tensors="pt"),
        custom_generate=method,
        ranker=ranker,
        processing_class=tokenizer,
        do_sample=True,
        return_dict_in_generate=True,
        **options,
    )


def test_a_text_that_was_sampled_twice_has_two_votes() -> None:
    """Of the candidates of best_of each is returned once, and all vote."""
    votes = VoteRanker(answer=r"\w+")
    seen: list[list[str]] = []

    class Watched(VoteRanker):
        def prepare(self, prefixes: Texts) -> CandidateScorer:
            return lambda candidates: [seen.append([*texts]) or votes.score(["?"], [texts])[0] for texts in candidates]  # type: ignore[func-returns-value]

    found = generate(Watched(answer=r"\w+"), candidates=24, max_new_tokens=1, top_k=4)
    (texts,) = seen
    assert len(texts) > len(set(texts)) == len(found.tree[0][0])
    answer, count = Counter(votes.answers(texts)).most_common(1)[0]
    assert votes.answers([found.tree[0][0][0].text]) == [answer]
    assert float(found.ranker_scores[0]) == pytest.approx(count / sum(each is not None for each in votes.answers(texts)))


@pytest.mark.parametrize("ranker", [VoteRanker(), CombinedRanker([OverlapRanker(), VoteRanker()])], ids=["alone", "combined"])
def test_rounds_are_refused_by_name(ranker: Ranker) -> None:
    with pytest.raises(ValueError, match=r"judges whole texts, .* pass tokens_per_round=None without round_ends"):
        generate(ranker, ranked_search, max_new_tokens=4)
    assert generate(ranker, ranked_search, max_new_tokens=4, tokens_per_round=None).ranker_scores.isfinite().all()


def test_names() -> None:
    with pytest.raises(ValueError, match=r"decoder ranked_search: vote judges whole texts, .* take best_of"):
        parse_decoder("ranked_search:ranker=[overlap]+[vote:answer=number]")
    (spec,) = parse_rankers(["vote:ranker=[overlap:n=2],power=0.5"])
    assert spec.short() == "vote:ranker=[overlap:n=2],power=0.5"
    (again,) = parse_rankers([str(spec)])
    assert again == spec
    (plain,) = parse_rankers(["vote"])
    assert (plain.values["ranker"], plain.short()) == ((), "vote")
    decoder = parse_decoder("best_of:ranker=[vote:answer=number,ranker=overlap,keep=0.5]")
    assert parse_decoder(str(decoder)) == decoder


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("To answer a question like this, look at the table: (C)", "C"),
        ("The answer is a little tricky: (C).", "C"),
        ("The answer I give is (B).", "B"),
        ("The answer is b.", "B"),
        ("Answer: **D**", "D"),
        ("The answer is E because it is.", "E"),
        ("The answer is (f)", "F"),
        ("An answer I have not.", None),
    ],
)
def test_a_word_of_one_letter_is_no_choice(text: str, letter: str | None) -> None:
    assert choice_letter(text) == letter


def test_banned_texts_do_not_decide_who_votes() -> None:
    """Their weight is minus infinity, of which no quantile can be interpolated."""

    class Given(Ranker):
        comparable = True

        def prepare(self, prefixes: Sequence[str]) -> Any:
            return lambda candidates: [torch.tensor([0.5, -torch.inf, -torch.inf]) for _ in candidates]

    (found,) = VoteRanker(Given(), keep=0.5).score(["1 + 2 ="], [[" it is 3", " it is 4", " it is 3"]])
    assert found.argmax() == 0
    assert found[1] < found[2] <= found[0]
