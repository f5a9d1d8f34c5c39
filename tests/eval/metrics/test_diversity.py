"""rep-n and diversity: by hand, against published figures, and the properties that a counting mistake would break."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.eval import diversity, rep_n
from counterpoint.rankers.ngrams import words

pytestmark = pytest.mark.filterwarnings("ignore:.* texts have fewer than .* words:UserWarning")

ROSE = "a rose is a rose is a rose"
TEXTS = st.lists(st.lists(st.sampled_from("abc"), min_size=4, max_size=12).map(" ".join), min_size=1, max_size=5)
Metric = Callable[..., float]


def check_by_hand(metric: Metric) -> None:
    """Counts small enough for fingers."""
    assert metric([ROSE], 2) == pytest.approx(1 - 3 / 7)
    assert metric([ROSE], 3) == pytest.approx(1 - 3 / 6)
    assert metric([ROSE], 4) == pytest.approx(1 - 3 / 5)
    assert metric([ROSE, "one two three"], 2) == pytest.approx(1 - (3 + 2) / (7 + 2))  # pooled, not averaged
    assert metric(["one two", "one two"], 2) == 0  # distinct within a text


def rep_n_across_texts(texts: list[str], n: int) -> float:
    """Broken: distinct over all texts."""
    grams = [tuple(text.split()[start : start + n]) for text in texts for start in range(len(text.split()) - n + 1)]
    return 1 - len(set(grams)) / len(grams)


def rep_n_of_means(texts: list[str], n: int) -> float:
    """Broken: the mean of the texts' own rates."""
    return sum(rep_n([text], n) for text in texts) / len(texts)


def test_by_hand() -> None:
    check_by_hand(rep_n)


@pytest.mark.parametrize("broken", [rep_n_across_texts, rep_n_of_means])
def test_the_hand_computed_check_catches_a_wrong_metric(broken: Metric) -> None:
    with pytest.raises(AssertionError):
        check_by_hand(broken)


def test_published_counting_leaves_out_the_last_ngram_and_rounds() -> None:
    assert rep_n([ROSE], 2, published=True) == 0.5  # 3 distinct of 6
    assert rep_n(["a a a a"], 2, published=True) == 0.5  # 1 of 2
    assert rep_n(["a b a b a b a c"], 2, published=True) == 0.6667  # 2 of 6


def test_diversity_by_hand() -> None:
    assert diversity([ROSE]) == pytest.approx(3 / 7 * 3 / 6 * 3 / 5)
    assert diversity(["the cat sat on the mat"]) == 1
    assert diversity([ROSE], published=True) == pytest.approx(3 / 6 * 3 / 5 * 3 / 4)


def test_published_figure(shared: Path) -> None:
    folder = shared / "data" / "published_generations"
    items = json.loads((folder / "wikitext_contrastive_k_5_alpha_0.6.json").read_text(encoding="utf-8"))
    texts = [item["generated_result"]["0"] for item in items]
    assert round(100 * diversity(texts, published=True), 2) == 89.35
    spaced = [text for text in texts if words(text) == text.split()]  # a few are in Chinese, whose characters we count
    assert 0.98 * len(texts) < len(spaced) < len(texts)
    assert 0 < abs(diversity(spaced) - diversity(spaced, published=True)) < 3e-4  # so the definitions can be told apart


@given(TEXTS, st.integers(1, 4))
def test_bounds_and_order(texts: list[str], n: int) -> None:
    value = rep_n(texts, n)
    assert 0 <= value < 1
    assert rep_n(texts[::-1], n) == value
    assert rep_n([text.replace(" ", " \n ") for text in texts], n) == value


@given(TEXTS, st.integers(1, 4))
def test_copying_every_text_changes_nothing(texts: list[str], n: int) -> None:
    assert rep_n(texts * 2, n) == pytest.approx(rep_n(texts, n))


@given(st.lists(st.integers(), min_size=5, max_size=20, unique=True), st.integers(1, 4), st.booleans())
def test_distinct_words_never_repeat(words: list[int], n: int, published: bool) -> None:
    assert rep_n([" ".join(map(str, words))], n, published=published) == 0
    assert diversity([" ".join(map(str, words))], published=published) == 1


@given(TEXTS)
def test_diversity_is_the_product(texts: list[str]) -> None:
    two, three, four = (rep_n(texts, n) for n in (2, 3, 4))
    assert diversity(iter(texts)) == pytest.approx((1 - two) * (1 - three) * (1 - four))


@given(TEXTS, st.integers(1, 3))
def test_published_is_the_exact_count_of_shortened_texts(texts: list[str], n: int) -> None:
    shortened = [text.rsplit(maxsplit=1)[0] for text in texts]
    assert rep_n(texts, n, published=True) == round(rep_n(shortened, n), 4)


def test_errors() -> None:
    with pytest.raises(TypeError, match=r"pass a list of texts, \[text\]"):
        rep_n("one string", 2)
    with pytest.raises(TypeError, match="pass a list of texts"):
        diversity("one string")
    with pytest.raises(ValueError, match="n=0"):
        rep_n(["text"], 0)
    with pytest.raises(ValueError, match="none is long enough to hold a 4-gram"):
        diversity(["three words only", ""])
    with pytest.raises(ValueError, match="none is long enough"):
        rep_n([], 2)
