"""Self-BLEU: by hand, against each text compared with every other, and against NLTK's sentence BLEU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.eval import self_bleu, self_bleu_of_each
from counterpoint.eval.metrics.self_bleu import closest_other

TEXTS = st.lists(st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join), min_size=2, max_size=5)
Metric = Callable[..., list[float]]


def from_scratch(texts: list[str], n: int) -> list[float]:
    """Papineni et al.'s BLEU of each text with the others as references, written out."""
    words = [text.split() for text in texts]
    result = []
    for i, candidate in enumerate(words):
        others = words[:i] + words[i + 1 :]
        log_precisions = []
        for m in range(1, n + 1):
            grams = [tuple(candidate[at : at + m]) for at in range(len(candidate) - m + 1)]
            clipped = 0
            for gram in set(grams):
                most = max(sum(tuple(other[at : at + m]) == gram for at in range(len(other))) for other in others)
                clipped += min(grams.count(gram), most)
            if m == 1 and not clipped:
                break
            log_precisions.append(math.log((clipped if clipped else 0.1) / max(1, len(grams))))
        if not log_precisions:
            result.append(0.0)
            continue
        reference = sorted(others, key=lambda other: (abs(len(other) - len(candidate)), len(other)))[0]
        brevity = 1.0 if len(candidate) >= len(reference) else math.exp(1 - len(reference) / len(candidate))
        result.append(brevity * math.exp(sum(log_precisions) / n))
    return result


def check_by_hand(metric: Metric) -> None:
    """Each precision can be read off."""
    assert metric(["a b c", "a b c"], 3) == pytest.approx([1, 1])
    assert metric(["a a", "a b"], 1) == pytest.approx([1 / 2, 1 / 2])  # clipped to the other's one a
    assert metric(["a b", "b c"], 2) == pytest.approx([math.sqrt(1 / 2 * 0.1)] * 2)  # no bigram: 0.1 of 1
    assert metric(["a b", "a b c d"], 1) == pytest.approx([math.exp(1 - 4 / 2), 2 / 4])  # brevity of the first
    assert metric(["a b c", "a", "b"], 1)[0] == pytest.approx(2 / 3)  # both references count
    assert metric(["a", "b", "a"], 1) == pytest.approx([1, 0, 1])


def against_the_longest(texts: list[str], n: int) -> list[float]:
    """Broken: one reference only."""
    return [
        from_scratch([text, max(texts[:i] + texts[i + 1 :], key=len)], n)[0] if len(texts) > 1 else 0.0
        for i, text in enumerate(texts)
    ]


def with_itself(texts: list[str], n: int) -> list[float]:
    """Broken: a text among its own references."""
    return [from_scratch([text, *texts], n)[0] for text in texts]


def test_by_hand() -> None:
    check_by_hand(self_bleu_of_each)
    check_by_hand(from_scratch)


@pytest.mark.parametrize("broken", [against_the_longest, with_itself])
def test_the_hand_computed_check_catches_a_wrong_metric(broken: Metric) -> None:
    with pytest.raises(AssertionError):
        check_by_hand(broken)


@settings(max_examples=60)
@given(TEXTS, st.integers(1, 5))
def test_against_the_definition(texts: list[str], n: int) -> None:
    assert self_bleu_of_each(texts, n) == pytest.approx(from_scratch(texts, n))


@pytest.fixture(scope="module")
def translate() -> Any:
    """NLTK's BLEU."""
    return pytest.importorskip("nltk.translate.bleu_score", reason="rouge-score brings NLTK")


@settings(max_examples=60)
@given(texts=TEXTS, n=st.integers(1, 5))
def test_against_nltk(translate: Any, texts: list[str], n: int) -> None:
    words = [text.split() for text in texts]
    smooth = translate.SmoothingFunction().method1
    expected = [
        translate.sentence_bleu(words[:i] + words[i + 1 :], each, [1 / n] * n, smoothing_function=smooth)
        for i, each in enumerate(words)
    ]
    assert self_bleu_of_each(texts, n) == pytest.approx(expected)


@settings(max_examples=60)
@given(TEXTS, st.integers(1, 5))
def test_order_bounds_and_copies(texts: list[str], n: int) -> None:
    values = self_bleu_of_each(texts, n)
    assert self_bleu_of_each(texts[::-1], n) == pytest.approx(values[::-1])
    assert all(0 <= value <= 1 + 1e-12 for value in values)
    assert self_bleu(texts, n) == pytest.approx(sum(values) / len(values))
    whole = [f"{text} a b c d e" for text in texts]  # long enough for every n
    assert self_bleu_of_each(whole * 2, n) == pytest.approx([1.0] * 2 * len(whole))


@settings(max_examples=60)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=8), st.data())
def test_closest_other(lengths: list[int], data: st.DataObject) -> None:
    ordered = sorted(lengths)
    at = data.draw(st.integers(0, len(ordered) - 1))
    others = ordered[:at] + ordered[at + 1 :]
    assert closest_other(ordered, ordered[at]) == min(others, key=lambda other: (abs(other - ordered[at]), other))


def test_samples() -> None:
    texts = [f"text number {i} of {i % 7}" for i in range(30)]
    drawn = self_bleu(texts, 2, samples=10, seed=1)
    assert drawn == self_bleu(texts, 2, samples=10, seed=1)
    assert len({self_bleu(texts, 2, samples=10, seed=seed) for seed in range(5)}) > 1
    assert self_bleu(texts, 2, samples=30) == self_bleu(texts, 2) == self_bleu(texts, 2, samples=None)
    assert drawn < self_bleu(texts, 2)  # fewer to match


def test_errors() -> None:
    with pytest.raises(TypeError, match=r"pass a list of texts, \[text\]"):
        self_bleu("one string")
    with pytest.raises(ValueError, match="1 of them, and self-BLEU compares at least 2"):
        self_bleu(["one text"])
    with pytest.raises(ValueError, match="n=0"):
        self_bleu(["one", "two"], 0)
