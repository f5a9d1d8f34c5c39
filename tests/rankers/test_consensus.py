"""Utilities against sacrebleu and by hand, the mean of references against all pairs, and pruning against the full form."""

from __future__ import annotations

import random
import sys
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.eval.building import load_ranker
from counterpoint.eval.choosing import parse_rankers
from counterpoint.rankers import (
    AggregateUtility,
    BertScore,
    Bleu,
    ChrF,
    ConsensusRanker,
    EmbeddingCosine,
    NgramF1,
    SentenceTransformerRanker,
    bert_score,
    utilities,
)
from sentence_models import bi_encoder, folder

TEXTS = st.lists(
    st.lists(st.sampled_from(["the", "sea", "whale", "rose,", "a", "Boat", "was", "old."]), min_size=1, max_size=9).map(" ".join),
    min_size=2,
    max_size=6,
)
UTILITIES: dict[str, Any] = {"ngram": NgramF1(), "chrf": ChrF(), "bleu": Bleu()}


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_chrf_and_bleu_are_sacrebleus(texts: list[str]) -> None:
    sacrebleu = pytest.importorskip("sacrebleu", reason="needs an extra")
    for utility, sentence in ((ChrF(), sacrebleu.sentence_chrf), (Bleu(), sacrebleu.sentence_bleu)):
        expected = [[sentence(one, [other]).score / 100 for other in texts] for one in texts]
        torch.testing.assert_close(utility(texts, texts), torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_bleu_without_sacrebleu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.tokenizers.tokenizer_13a", None)
    with pytest.raises(ImportError, match=r"pip install counterpoint\[generation\]"):
        Bleu()


def test_the_worked_number() -> None:
    """Pairwise and with the mean of the references, the text itself among them."""
    texts = ["a b", "a", "c d e f"]
    plain, mean = (ConsensusRanker(aggregate=aggregate, itself=True).score(["?"], [texts])[0] for aggregate in (False, True))
    assert float(plain[0]) == pytest.approx(0.5556, abs=1e-4)
    assert float(mean[0]) == pytest.approx(0.4615, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(TEXTS, st.booleans(), st.sampled_from(sorted(UTILITIES)))
def test_the_mean_of_references_by_hand(texts: list[str], itself: bool, name: str) -> None:
    """The others' counts are added up text by text, and divided by how many there are."""
    utility = UTILITIES[name]
    (found,) = ConsensusRanker(utility=utility, aggregate=True, itself=itself).score(["?"], [texts])
    for place, text in enumerate(texts):
        others = [other for at, other in enumerate(texts) if itself or at != place]
        own, bags = utility.bags(text), [utility.bags(other) for other in others]
        shared, mean = [], []
        for order, bag in enumerate(own):
            there = {gram: sum(each[order].get(gram, 0) for each in bags) / len(bags) for gram in bag}
            shared.append(float(sum(min(times, there[gram]) for gram, times in bag.items())))
            mean.append(sum(sum(each[order].values()) for each in bags) / len(bags))
        counts = (torch.tensor(each, dtype=torch.float64) for each in (shared, [float(sum(bag.values())) for bag in own], mean))
        assert float(found[place]) == pytest.approx(float(utility.of_counts(*counts)), abs=1e-5)


LETTERS = st.lists(st.text("ab", max_size=30).map(Counter), min_size=1, max_size=4)


@given(LETTERS, LETTERS, st.sampled_from([1, 2, 256]))
def test_shared_counts_by_hand(ones: list[Counter[str]], others: list[Counter[str]], block: int) -> None:
    """Every n-gram as often as in the bag that has it less, whatever number of references is compared at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utilities, "REFERENCES", block)
        found = utilities.shared_counts(ones, others)
    assert found.tolist() == [[sum((one & other).values()) for other in others] for one in ones]


@settings(max_examples=30, deadline=None)
@given(TEXTS, st.sampled_from(sorted(UTILITIES)))
def test_equal_references_are_their_mean(texts: list[str], name: str) -> None:
    """Whatever the utility, all of one text aggregate to that text."""
    same = [texts[0]] * 3
    plain, mean = (ConsensusRanker(utility=UTILITIES[name], aggregate=each).score(["?"], [same])[0] for each in (False, True))
    torch.testing.assert_close(plain, mean, atol=1e-5, rtol=1e-5)
    two = texts[:2]
    plain, mean = (ConsensusRanker(utility=UTILITIES[name], aggregate=each).score(["?"], [two])[0] for each in (False, True))
    torch.testing.assert_close(plain, mean, atol=1e-5, rtol=1e-5)  # the mean of one reference


def test_cosines_are_exact() -> None:
    utility = EmbeddingCosine(SentenceTransformerRanker(bi_encoder()))
    texts = ["the old sea", "a whale", "a whale", "nobody knew", "the sea"]
    for itself in (False, True):
        plain, mean = (
            ConsensusRanker(utility=utility, aggregate=aggregate, itself=itself).score(["?"], [texts])[0]
            for aggregate in (False, True)
        )
        torch.testing.assert_close(plain, mean, atol=1e-5, rtol=1e-5)


def noisy(count: int, seed: int) -> list[str]:
    """Texts of which some are nearer to the middle than others."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    words = "the old captain of the ship looked at the grey sea and the boats came back in the morning".split()
    return [" ".join(word for word in words if chance.random() > 0.1 + 0.8 * chance.random() ** 2) or "sea" for _ in range(count)]


@pytest.mark.parametrize("seed", range(4))
def test_pruning_keeps_the_best_and_compares_less(seed: int) -> None:
    compared = 0

    def counted(one: Any, other: Any) -> Any:
        nonlocal compared
        compared += len(one) * len(other)
        return NgramF1()(one, other)

    texts = noisy(60, seed)
    (plain,) = ConsensusRanker().score(["?"], [texts])
    (pruned,) = ConsensusRanker(utility=counted, prune=0.99).score(["?"], [texts])
    best = int(pruned.argmax())
    assert best == int(plain.argmax())
    assert float(pruned[best]) == pytest.approx(float(plain[best]), abs=1e-5)
    assert compared < len(texts) ** 2 * 0.8
    assert (pruned <= plain.max() + 1e-6).all()


def test_pruning_with_one_step_of_all_references_is_the_full_form() -> None:
    texts = noisy(8, 1)
    plain, pruned = (ConsensusRanker(prune=prune).score(["?"], [texts])[0] for prune in (0.0, 0.99))
    torch.testing.assert_close(plain, pruned, atol=1e-6, rtol=1e-6)


def test_what_has_no_mean_is_refused() -> None:
    with pytest.raises(ValueError, match="has no mean of references; pass an AggregateUtility"):
        ConsensusRanker(utility=lambda one, other: torch.zeros(len(one), len(other)), aggregate=True)
    with pytest.raises(ValueError, match="leave one of them out"):
        ConsensusRanker(aggregate=True, prune=0.99)
    for options in ({"prune": 1.0}, {"prune": -0.1}):
        with pytest.raises(ValueError, match="prune="):
            ConsensusRanker(**options)  # type: ignore[arg-type]
    for make in (lambda: ChrF(orders=0), lambda: ChrF(beta=0.0), lambda: Bleu(orders=0), lambda: NgramF1(n=0)):
        with pytest.raises(ValueError, match=r"orders=|n=0"):
            make()


def test_names() -> None:
    def no_model() -> Any:
        raise AssertionError

    found: Any = load_ranker(parse_rankers(["consensus:utility=chrf,aggregate=true"]), no_model, "cpu")
    assert isinstance(found.utility, ChrF)
    assert isinstance(found.utility, AggregateUtility)
    assert found.aggregate
    for choice, message in (
        ("consensus:utility=comet", "utility=comet is not one of ngram, chrf, bleu, bertscore, cosine"),
        ("consensus:utility=cosine", "the bi-encoder of utility=cosine, which needs one"),
        ("consensus:path=x", "path='x' with utility='ngram'"),
        ("consensus:utility=bertscore", "the encoder of utility=bertscore"),
        ("consensus:layer=2", "layer=2 with utility='ngram'"),
    ):
        with pytest.raises(ValueError, match=message):
            load_ranker(parse_rankers([choice]), no_model, "cpu")


def by_hand(model: Any, tokenizer: Any, layer: int, one: str, other: str) -> float:
    """BERTScore's F1 of two texts, each by a forward of its own, token pair by token pair."""

    def read(text: str) -> tuple[list[Any], list[bool]]:
        ids = tokenizer(text, return_tensors="pt", truncation=True)
        with torch.no_grad():
            states = model(**ids, output_hidden_states=True).hidden_states[layer][0]
        return [state / state.norm() for state in states], [
            int(each) not in tokenizer.all_special_ids for each in ids["input_ids"][0]
        ]

    (x, real_x), (y, real_y) = read(one), read(other)
    if not any(real_x) or not any(real_y):
        return 0.0
    best_x = [max(float(a @ b) for b in y) for a, real in zip(x, real_x, strict=True) if real]
    best_y = [max(float(a @ b) for a in x) for b, real in zip(y, real_y, strict=True) if real]
    precision, recall = sum(best_x) / len(best_x), sum(best_y) / len(best_y)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("layer", [None, 1])
def test_bertscore_by_hand(layer: int | None) -> None:
    utility = BertScore.from_pretrained(folder(), layer=layer)
    utility.batch_size = 2
    texts = ["a whale", "the whale rose", "q", "", "a long line " * 20]
    expected = [[by_hand(utility.model, utility.tokenizer, 2 if layer is None else layer, a, b) for b in texts] for a in texts]
    torch.testing.assert_close(utility(texts, texts), torch.tensor(expected), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(utility(texts[:2], texts[1:]), torch.tensor(expected)[:2, 1:], atol=1e-5, rtol=1e-5)
    assert float(utility(["a whale"], ["a whale"])) == pytest.approx(1.0)
    assert utility([], texts).shape == (0, 5)
    (found,) = ConsensusRanker(utility=utility).score(["?"], [texts[:3]])
    own = torch.tensor(expected)[:3, :3]
    torch.testing.assert_close(found, (own.sum(dim=1) - own.diagonal()) / 2, atol=1e-5, rtol=1e-5)


def test_bertscore_by_name_and_what_it_refuses() -> None:
    ranker: Any = load_ranker(
        parse_rankers([f"consensus:utility=bertscore,layer=1,path={folder()}"]), lambda: pytest.fail("no model"), "cpu"
    )
    assert repr(ranker.utility) == "BertScore(BertModel, layer=1)"
    with pytest.raises(ValueError, match="layer=3: BertModel has layers 0 to 2"):
        BertScore(ranker.utility.model, ranker.utility.tokenizer, layer=3)
    with pytest.raises(ValueError, match="has no mean of references"):
        ConsensusRanker(utility=ranker.utility, aggregate=True)


def test_matches_by_position_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken mock compares tokens at the same place."""
    alike = bert_score.f1

    def wrong(states: Any, counts: Any, others: Any, seen: Any, counted: Any) -> Any:
        return alike(states, counts, others[:, :1], seen[:, :1], counted[:, :1])

    monkeypatch.setattr(bert_score, "f1", wrong)
    with pytest.raises(AssertionError):
        test_bertscore_by_hand(None)
