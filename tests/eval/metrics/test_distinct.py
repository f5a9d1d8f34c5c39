"""distinct-n, hapax-n and Zipf's coefficient: by hand, against definitions written out, and what cannot change them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.eval import distinct_n, hapax_n, zipf

pytestmark = pytest.mark.filterwarnings("ignore:.* texts have fewer than .* words:UserWarning")

pytestmark = pytest.mark.filterwarnings("ignore:.* texts have fewer than .* words:UserWarning")

TEXTS = st.lists(st.lists(st.sampled_from("abcde"), min_size=4, max_size=12).map(" ".join), min_size=1, max_size=5)
Metric = Callable[..., float]


def grams_of(texts: list[str], n: int) -> list[str]:
    """N-grams as strings, by position."""
    return [" ".join(text.split()[at : at + n]) for text in texts for at in range(len(text.split()) - n + 1)]


def check_distinct(metric: Metric) -> None:
    """Counts small enough for fingers."""
    assert metric(["a b a b"], 1) == 2 / 4
    assert metric(["a b a b"], 2) == 2 / 3
    assert metric(["a b a b", "a b c"], 2) == 3 / 5  # over all texts, so "a b" of the second is no other
    assert metric(["a b a b", "c"], 2) == 2 / 3  # a text that is too short counts nothing


def distinct_within_texts(texts: list[str], n: int) -> float:
    """Broken: as in rep-n."""
    return sum(len(set(grams_of([text], n))) for text in texts) / len(grams_of(texts, n))


def distinct_of_joined(texts: list[str], n: int) -> float:
    """Broken: n-grams across the boundary of two texts."""
    return distinct_n([" ".join(texts)], n)


def test_distinct_by_hand() -> None:
    check_distinct(distinct_n)


@pytest.mark.parametrize("broken", [distinct_within_texts, distinct_of_joined, hapax_n])
def test_the_hand_computed_check_catches_a_wrong_metric(broken: Metric) -> None:
    with pytest.raises(AssertionError):
        check_distinct(broken)


def test_hapax_by_hand() -> None:
    assert hapax_n(["a b a b"], 2) == 1 / 3  # "b a"
    assert hapax_n(["a b a b", "a b c"], 2) == 2 / 5  # and "b c"
    assert hapax_n(["a b", "a b"], 1) == 0


@given(TEXTS, st.integers(1, 4))
def test_against_counts_of_strings(texts: list[str], n: int) -> None:
    grams = grams_of(texts, n)
    assert distinct_n(texts, n) == len(set(grams)) / len(grams)
    assert hapax_n(texts, n) == len([gram for gram in grams if grams.count(gram) == 1]) / len(grams)
    assert hapax_n(texts, n) <= distinct_n(texts, n)


@given(TEXTS, st.integers(1, 4))
def test_order_space_and_copies(texts: list[str], n: int) -> None:
    value = distinct_n(texts, n)
    assert distinct_n(iter(texts[::-1]), n) == value
    assert distinct_n([f" {text} \n".replace(" ", "\t ") for text in texts], n) == value
    assert distinct_n(texts * 2, n) == pytest.approx(value / 2)
    assert hapax_n(texts * 2, n) == 0


def zipf_by_numpy(texts: list[str], ranks: int = 5000) -> float:
    """Minus the slope of the normal equations of a line."""
    _, counts = np.unique(np.array([word for text in texts for word in text.split()]), return_counts=True)
    kept = np.sort(counts)[::-1][:ranks]
    line = np.stack([np.log(np.arange(1, len(kept) + 1)), np.ones(len(kept))], axis=1)
    return -float(np.linalg.lstsq(line, np.log(kept), rcond=None)[0][0])


def test_zipf_of_exact_power_laws() -> None:
    for exponent in (1, 2):
        text = " ".join(f"w{rank}" for rank in range(1, 5) for _ in range(144 // rank**exponent))
        assert zipf([text]) == pytest.approx(exponent)
    assert zipf(["all words once"]) == 0


def test_zipf_takes_the_most_frequent_words() -> None:
    text = "a " * 8 + "b " * 4 + "c d e f"
    assert zipf([text], ranks=2) == pytest.approx(1)  # ln 2 over ln 2
    assert zipf([text], ranks=3) == pytest.approx(zipf_by_numpy([text], 3)) != pytest.approx(zipf([text]))


@given(st.lists(st.integers(1, 30), min_size=2, max_size=20), st.integers(2, 25))
def test_zipf_against_least_squares(counts: list[int], ranks: int) -> None:
    texts = [" ".join([f"w{word}"] * count) for word, count in enumerate(counts)]
    assert zipf(texts, ranks=ranks) == pytest.approx(zipf_by_numpy(texts, ranks), abs=1e-9)
    assert zipf(texts[::-1] * 3, ranks=ranks) == pytest.approx(zipf(texts, ranks=ranks), abs=1e-9)  # a factor moves the line
    assert zipf(texts, ranks=ranks) > -1e-12
    assert math.isfinite(zipf(texts, ranks=ranks))


@pytest.mark.parametrize("metric", [distinct_n, hapax_n])
def test_errors(metric: Metric) -> None:
    with pytest.raises(TypeError, match=r"pass a list of texts, \[text\]"):
        metric("one string", 2)
    with pytest.raises(ValueError, match="n=0"):
        metric(["text"], 0)
    with pytest.raises(ValueError, match="none is long enough to hold a 4-gram"):
        metric(["three words only", ""], 4)


def test_errors_of_zipf() -> None:
    with pytest.raises(TypeError, match=r"pass a list of texts, \[text\]"):
        zipf("one string")
    with pytest.raises(ValueError, match="1 different words"):
        zipf(["no no", ""])
    with pytest.raises(ValueError, match="0 different words"):
        zipf([])
    with pytest.raises(ValueError, match="ranks=1"):
        zipf(["two words"], ranks=1)
