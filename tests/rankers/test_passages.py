"""Plain texts as prefixes and continuations of whole sentences."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from counterpoint.rankers.training.passages import Passage, passages, read_documents, sentences, whole_sentences

PIECES = ["It rose", "Mr. Bell", "the U.S.", "J. Smith", "9 whales", '"Go', "and so", "no", "e.g. this", "(See", "Ahab's"]
ENDS = [".", "!", "?", '."', ".)", "...", ",", "", ";"]
GAPS = [" ", "\n", "  ", "\n\n", "\n \n"]
TEXTS = st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(ENDS), st.sampled_from(GAPS)), max_size=60).map(
    lambda parts: "".join("".join(part) for part in parts)
)


def ends(text: str) -> set[int]:
    """Where sentences end, by a pattern: a mark and what closes, then white space and no small letter; or a blank line."""
    marks = re.finditer(r"""\S*?[.!?]["')]*(?=\s+["'(]*(?![a-z"'(])\S)|\S(?=[^\S\n]*\n[^\S\n]*\n)""", text)
    at = {match.end(): re.split(r"\s", text[: match.end()])[-1] for match in marks}
    return {
        end
        for end, word in at.items()
        if word.strip("\"'()") not in ("Mr.", "J.", "e.g.", "no.") or re.match(r"\s*\n\s*\n", text[end:])
    }


@given(TEXTS)
def test_sentences_are_the_text(text: str) -> None:
    pieces = sentences(text)
    assert "".join(pieces) == text
    found = {sum(map(len, pieces[: index + 1])) for index in range(len(pieces))}
    stripped = {end for end in found if text[end:].strip()}
    assert stripped == {end for end in ends(text) if text[end:].strip()}


@example("It rose.  It rose.  It rose. ", 2, 2, 0, 0)
@given(TEXTS, st.integers(1, 12), st.integers(1, 8), st.integers(0, 8), st.integers(0, 3))
def test_passages_are_whole_sentences_next_to_each_other(text: str, prefix_words: int, shortest: int, more: int, seed: int) -> None:
    found = list(passages("book", text, prefix_words=prefix_words, continuation_words=(shortest, shortest + more), seed=seed))
    assert found == list(
        passages("book", text, prefix_words=prefix_words, continuation_words=(shortest, shortest + more), seed=seed)
    )
    bounds = ends(text) | {len(text), len(text.rstrip())}
    starts = {start for start in range(len(text)) if not text[:start].strip() or len(text[:start].rstrip()) in bounds}
    at = 0
    for passage in found:
        whole = passage.prefix + passage.continuation
        borders = [start + len(passage.prefix) for start in sorted(starts) if text.startswith(whole, start)]
        where = [border for border in borders if border >= at and {border, border + len(passage.continuation)} <= bounds]
        assert where  # the text has it, after the continuation before it; a text that repeats itself may have it several times
        at = where[0] + len(passage.continuation)
        assert 1 <= len(passage.prefix.split()) <= prefix_words
        assert shortest <= len(passage.continuation.split()) <= passage.longest <= shortest + more
        assert passage.continuation[0].isspace()
        assert passage.continuation.strip()


@given(TEXTS, st.integers(1, 9), st.integers(0, 20))
def test_whole_sentences_are_a_start_of_the_text(text: str, shortest: int, longest: int) -> None:
    kept = whole_sentences(text, shortest, longest)
    assert text.startswith(kept)
    if kept:
        assert shortest <= len(kept.split()) <= longest
        assert re.search(r"""[.!?]["')]*$""", kept) or re.match(r"\s*\n\s*\n", text[len(kept) :])


def test_lengths_are_drawn() -> None:
    text = "The whale rose and it sank. " * 400
    found = list(passages("book", text, prefix_words=30, continuation_words=(6, 60)))
    assert {len(passage.continuation.split()) for passage in found} == set(range(6, 61, 6))
    assert {len(passage.prefix.split()) for passage in found[10:]} == {30}
    assert found != list(passages("book", text, prefix_words=30, continuation_words=(6, 60), seed=1))


def test_a_short_text_has_none() -> None:
    assert list(passages("book", "One sentence alone, of a good many words, has no prefix.")) == []
    assert list(passages("book", "")) == []


def test_documents_are_files_and_those_below_folders(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "b.txt").write_text("\ufeffB.", encoding="utf-8")
    (tmp_path / "a.txt").write_text("A.", encoding="utf-8")
    (tmp_path / "note.md").write_text("N.", encoding="utf-8")
    names = [tmp_path / "a.txt", tmp_path / "inner" / "b.txt"]
    assert read_documents([tmp_path]) == dict(zip(map(str, names), ["A.", "B."], strict=True))
    assert read_documents([tmp_path / "note.md"]) == {str(tmp_path / "note.md"): "N."}


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_documents([tmp_path / "absent.txt"])
    with pytest.raises(ValueError, match="is a folder without"):
        read_documents([tmp_path])
    path = tmp_path / "latin.txt"
    path.write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match="is not UTF-8"):
        read_documents([path])
    path.write_text("Once.")
    with pytest.raises(ValueError, match="is named twice"):
        read_documents([path, tmp_path])


def test_a_passage_says_what_it_may_be_contrasted_with() -> None:
    (passage,) = passages("book", "It was late. The whale rose.", prefix_words=3, continuation_words=(3, 3))
    assert passage == Passage("book", "It was late.", " The whale rose.", longest=3)
