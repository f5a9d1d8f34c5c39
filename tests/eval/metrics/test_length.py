"""Lengths and loops: by hand, against a published figure, and against every phrase tried."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from counterpoint.eval import lengths, loop_share, mean_length
from counterpoint.eval.metrics.length import ends_in_loop


def test_words_and_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = [" the captain  of\nthe ship", "", "\n"]
    assert lengths(iter(texts)) == [5, 0, 0]
    tokens = lengths(texts, tokenizer=tokenizer)
    assert tokens[1] == 0
    assert tokens == [len(tokenizer.tokenize(text)) for text in texts] != lengths(texts)
    assert mean_length(texts) == pytest.approx(5 / 3)
    assert mean_length(texts, tokenizer=tokenizer) == pytest.approx(sum(tokens) / 3)


def test_published_figure(shared: Path) -> None:
    folder = shared / "data" / "published_generations"
    items = json.loads((folder / "wikitext_contrastive_k_5_alpha_0.6.json").read_text(encoding="utf-8"))
    (published,) = json.loads((folder / "wikitext_contrastive_k_5_alpha_0.6.pub").read_text(encoding="utf-8"))
    texts = [item["generated_result"]["0"] for item in items]
    assert mean_length(texts, published=True) == pytest.approx(float(published["gen_length_dict"]["gen_len_list"][0]), abs=1e-9)
    assert loop_share(texts) < 0.01  # contrastive search does not loop


def check_loops(ends: Callable[[list[str]], bool]) -> None:
    """Phrases that end texts."""
    assert ends("well a b c a b c".split())
    assert ends("a b c d a b c d a b c d".split())
    assert not ends("a b c a b c well".split())  # repeated, but not at the end
    assert not ends("a b a b".split())  # two words, twice
    assert not ends(["a", "b"] * 50)
    assert ends(["a", "b"] * 51)
    assert not ends(["a"] * 50)
    assert ends(["a"] * 51)
    assert not ends([])
    assert not ends(["a"])


def any_loop(words: list[str]) -> bool:
    """Broken: two words said twice are enough."""
    return any(words[-n:] == words[-2 * n : -n] for n in range(1, len(words)))


def anywhere(words: list[str]) -> bool:
    """Broken: not only at the end."""
    return any(ends_in_loop(words[: len(words) - cut]) for cut in range(len(words)))


def test_loops_by_hand() -> None:
    check_loops(ends_in_loop)


@pytest.mark.parametrize("broken", [any_loop, anywhere])
def test_the_hand_computed_check_catches_a_wrong_rule(broken: Callable[[list[str]], bool]) -> None:
    with pytest.raises(AssertionError):
        check_loops(broken)


@given(st.lists(st.sampled_from("ab"), max_size=4), st.lists(st.sampled_from("ab"), min_size=1, max_size=5), st.integers(1, 60))
def test_against_every_phrase(start: list[str], phrase: list[str], times: int) -> None:
    words = start + phrase * times
    repeats = {}  # each phrase's length, and how often it closes the text
    for length in range(1, 91):
        count = 1
        while len(words) >= (count + 1) * length and words[-(count + 1) * length :] == words[-length:] * (count + 1):
            count += 1
        repeats[length] = count
    chosen = next(length for length in repeats if repeats[length] == max(repeats.values()))
    assert ends_in_loop(words) == (repeats[chosen] > 1 and (chosen >= 3 or repeats[chosen] > 50))


def test_the_longest_phrase_and_the_share() -> None:
    phrase = [str(word) for word in range(10)]
    assert ends_in_loop(phrase * 2, longest=10)
    assert not ends_in_loop(phrase * 2, longest=9)
    texts = ["a b c a b c", "a b c", "c b a", ""]
    assert loop_share(texts) == loop_share(texts[::-1]) == 1 / 4


@pytest.mark.parametrize("metric", [lengths, mean_length, loop_share])
def test_errors(metric: Callable[..., object]) -> None:
    with pytest.raises(TypeError, match=r"pass a list of texts, \[text\]"):
        metric("one string")


@pytest.mark.parametrize("metric", [mean_length, loop_share])
def test_nothing_to_average(metric: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="texts is empty"):
        metric([])
