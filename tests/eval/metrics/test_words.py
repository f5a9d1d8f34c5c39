"""Words of scripts with and without spaces, and what measures say of texts that are too short for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.eval import distinct_n, diversity, rep_n, self_bleu
from counterpoint.eval.generation import Generated
from counterpoint.eval.metrics.length import lengths
from counterpoint.rankers.ngrams import words
from counterpoint.rankers.training.passages import passages, sentences, whole_sentences

CHINESE = "\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002"  # the weather is fine today
JAPANESE = "\u6620\u753b\u3092\u898b\u307e\u3057\u305f\u3002"  # I saw a film
THAI = "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35"  # hello
LOOPS = [text * 30 for text in (CHINESE, JAPANESE, THAI)]


@given(st.text(alphabet="ab \n.\u00e9\ud55c\u4eca"))
def test_words_are_what_white_space_separates_in_other_scripts(text: str) -> None:
    if 2 * text.count("\u4eca") <= len("".join(text.split())):
        assert words(text) == text.split()


def test_every_character_of_scripts_without_spaces_is_a_word() -> None:
    assert words(f"x {CHINESE}y") == ["x", *CHINESE[:-1], "\u3002y"]
    assert lengths(LOOPS) == [7 * 30, 8 * 30, 6 * 30]


@pytest.mark.parametrize("loop", LOOPS)
def test_loops_are_seen_in_every_script(loop: str) -> None:
    grams = [loop[start : start + 4] for start in range(len(loop) - 3)]
    assert rep_n([loop], 4) == pytest.approx(1 - len(set(grams)) / len(grams))
    assert diversity([loop]) < 0.01
    assert diversity([*[loop] * 10, " ".join(f"w{number}" for number in range(50))]) < 0.1
    assert distinct_n([loop], 4) < 0.1
    assert self_bleu([loop, loop]) == pytest.approx(1.0)
    assert Generated(loop, 100, 1.0).measures()["rep_4"] == pytest.approx(rep_n([loop], 4))


@pytest.mark.parametrize("measure", [lambda texts: rep_n(texts, 4), lambda texts: distinct_n(texts, 4)])
def test_texts_without_a_figure_are_counted(measure: object) -> None:
    assert callable(measure)
    with pytest.warns(UserWarning, match="2 of 3 texts have fewer than 4 words and are left out"):
        found = measure(["one two three four", "one two", ""])
    assert found == measure(["one two three four"])
    with pytest.raises(ValueError, match="none is long enough"):
        measure(["one two"])


def test_sentences_end_without_white_space() -> None:
    said = f"{CHINESE}\u300c\u771f\u7684\uff1f\u300d\u4ed6\u8bf4\u3002Mr. Li came. It was dark"
    assert sentences(said) == [CHINESE, "\u300c\u771f\u7684\uff1f\u300d", "\u4ed6\u8bf4\u3002", "Mr. Li came.", " It was dark"]
    assert whole_sentences(CHINESE * 5 + CHINESE[:-1], shortest=3, longest=20) == CHINESE * 2
    found = list(passages("a", CHINESE * 40, prefix_words=30, continuation_words=(5, 20)))
    assert found
    assert all(len(words(passage.continuation)) <= 20 >= 5 for passage in found)


def test_runs_without_white_space_take_linear_time() -> None:
    """A million characters, for which an end tried at every character would take minutes."""
    for text in ("\u8239" * 10**6, "a" * 10**6, "." * 10**6, '."' * 10**5, "\n " * 10**5, "\u3002\u300d" * 10**5):
        assert "".join(sentences(text)) == text
