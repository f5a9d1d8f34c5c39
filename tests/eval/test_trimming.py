"""New tokens as texts: their end, stop strings, and thinking that is cut, whatever tokens its marks are."""

from __future__ import annotations

from typing import Any

import pytest

from chats import chat_tokenizer
from counterpoint.eval.trimming import Trimming, marks_of, trim_text, trim_tokens, without_thinking

MARKS = ("<think>", "</think>")


@pytest.fixture(scope="module", params=["text", "token", "special token"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    """A tokenizer whose marks of thinking are texts, tokens, or special tokens, which decoding drops."""
    found = chat_tokenizer(None)
    if request.param != "text":
        found.add_tokens(list(MARKS), special_tokens=request.param == "special token")
    return found


def ids(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text."""
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


@pytest.mark.parametrize(
    ("prompt", "text", "answer", "thinking"),
    [
        ("A whale?", "<think>\nIs it one?\n</think>\n\nIt was late.", "It was late.", "Is it one?"),
        ("A whale? <think>\n", "Is it one?\n</think>\n\nIt was late.", "It was late.", "Is it one?"),
        ("A whale? <think>\n", "Is it one", "", "Is it one"),
        ("A whale?", "<think> Is it one", "", "Is it one"),
        ("A whale? <think>\n\n</think>\n\n", "It was late.", "It was late.", None),
        ("What is <think> for?\n", " It was late.", " It was late.", None),
    ],
)
def test_thinking_is_cut(tokenizer: Any, prompt: str, text: str, answer: str, thinking: str | None) -> None:
    new = ids(tokenizer, text)
    found = trim_tokens(tokenizer, ids(tokenizer, prompt), new, None, Trimming(thinking=MARKS))
    assert (found.text, found.thinking, found.tokens, found.finished) == (answer, thinking, len(new), False)


def test_a_text_ends_at_its_end_or_at_the_first_stop_string() -> None:
    tokenizer = chat_tokenizer(None)
    prompt, new = ids(tokenizer, "It was"), ids(tokenizer, " late. The whale rose. The end")
    end = tokenizer.eos_token_id
    whole = trim_tokens(tokenizer, prompt, [*new, end, *new], end)
    assert (whole.text, whole.tokens, whole.finished) == (" late. The whale rose. The end", len(new) + 1, True)
    for stop in (("whale",), ("rose", "whale"), ("hale r", "whale"), (" whale rose", "zzz")):
        found = trim_tokens(tokenizer, prompt, [*new, end], end, Trimming(stop))
        first = min(whole.text.index(each) for each in stop if each in whole.text)
        assert (found.text, found.finished) == (whole.text[:first], True)
        assert found.tokens < len(new)


@pytest.mark.parametrize(
    ("text", "answer", "thinking"),
    [
        ("<think>\nIs it one?\n</think>\n\nIt was late. The end", "It was late.", "Is it one?"),
        ("Is it one?\n</think>\n\nIt was late.", "It was late.", "Is it one?"),
        ("<think> Is it one", "", "Is it one"),
        (" It was late. The end", " It was late.", None),
    ],
)
def test_texts_without_tokens_are_read_alike(text: str, answer: str, thinking: str | None) -> None:
    found = trim_text(text, 9, True, Trimming((" The",), MARKS))
    assert (found.text, found.thinking, found.tokens, found.finished) == (answer, thinking, 9, True)
    assert trim_text(text, 9, True).text == text


def test_given_texts_lose_their_thinking() -> None:
    assert without_thinking("<think>Is it?</think>\n\nIt is.", MARKS) == "It is."
    assert without_thinking("Is it?</think> It is.", MARKS) == "It is."
    assert without_thinking("It is.", MARKS) == "It is."
    assert marks_of("... [THINK]{{ x }}[/THINK] ...") == ("[THINK]", "[/THINK]")
    assert marks_of("") == MARKS
