"""RankGen's rep: by hand, and against a queue of words."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.eval import mean_over_texts, recent_repetition_of_each

WORDS = st.lists(st.sampled_from("xyz"), max_size=30).map(" ".join)
Metric = Callable[..., list[float]]


def check_by_hand(metric: Metric) -> None:
    """Words that can be found by eye."""
    assert metric(["x y"], ["x z z"]) == pytest.approx([2 / 3])  # x of the prompt, the second z
    assert metric(["x y"], ["x z x"], window=1) == [0]  # y, x and z come right before
    assert metric(["x y"], ["x z x"], window=2) == pytest.approx([2 / 3])
    assert metric(["The X!"], ['An "x" -- the.']) == [1]  # one word, case and quotes aside
    assert metric(["", "x"], ["x x", "y"]) == [1 / 2, 0]


def without_prompt(prompts: list[str], texts: list[str], **options: int) -> list[float]:
    """Broken: the prompt is not read."""
    return recent_repetition_of_each([""] * len(texts), texts, **options)


def ever_said(prompts: list[str], texts: list[str], **options: int) -> list[float]:
    """Broken: all words before count."""
    return recent_repetition_of_each(prompts, texts, window=10**6)


def test_by_hand() -> None:
    check_by_hand(recent_repetition_of_each)


@pytest.mark.parametrize("broken", [without_prompt, ever_said])
def test_the_hand_computed_check_catches_a_wrong_metric(broken: Metric) -> None:
    with pytest.raises(AssertionError):
        check_by_hand(broken)


@given(WORDS, WORDS.filter(bool), st.integers(1, 25))
def test_against_a_queue(prompt: str, text: str, window: int) -> None:
    queue, repeated = deque(prompt.split(), maxlen=window), 0
    for word in text.split():
        repeated += word in queue
        queue.append(word)
    assert recent_repetition_of_each([prompt], [text], window=window) == [pytest.approx(repeated / len(text.split()))]


def test_texts_do_not_see_each_other() -> None:
    prompts, texts = ["x", "y", "z"], ["y y z", "", "x"]
    found = recent_repetition_of_each(prompts, texts)
    assert math.isnan(found[1])
    assert [*recent_repetition_of_each(iter(prompts[::-1]), iter(texts[::-1]))][::2] == found[::-1][::2] == [0, 1 / 3]
    assert mean_over_texts(found) == pytest.approx(1 / 6)


def test_errors() -> None:
    with pytest.raises(TypeError, match=r"pass a list of texts, \[text\]"):
        recent_repetition_of_each("one", ["two"])
    with pytest.raises(ValueError, match="1 continuations for 2 prompts"):
        recent_repetition_of_each(["one", "two"], ["three"])
    with pytest.raises(ValueError, match="continuations is empty"):
        recent_repetition_of_each([], [])
    with pytest.raises(ValueError, match="window=0"):
        recent_repetition_of_each(["one"], ["two"], window=0)
