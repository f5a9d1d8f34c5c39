"""Plain texts as what a ranker learns from: a prefix and its true continuation, both of whole sentences."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise
from pathlib import Path

from counterpoint.rankers.ngrams import words

CLOSING = "\"')]\u201d\u2019\u300d\u300f\uff09"  # the last three: corner brackets and a wide parenthesis
IDEOGRAPHIC = "\u3002\uff01\uff1f\uff61"
"""Full stops, exclamation and question mark of Chinese and Japanese, after which there is no white space."""
FINISHED = re.compile(rf"[.!?{IDEOGRAPHIC}][{re.escape(CLOSING)}]*$")
RUN = re.compile(rf"[^\s{IDEOGRAPHIC}]*[{IDEOGRAPHIC}]+[{re.escape(CLOSING)}]*|\S+")
"""What ends at white space or with a sentence. It takes no white space in, for then it would try every end of a long run."""
INITIAL = re.compile(r"\W*[A-Z]\.")
ABBREVIATIONS = frozenset(
    "mr. mrs. ms. dr. st. rev. hon. gen. col. capt. lt. messrs. prof. jr. sr. vs. no. vol. e.g. i.e. viz.".split()
)
OPENING = "\"'([\u201c\u2018"
RECORDS = (".json", ".jsonl", ".ndjson", ".csv")
"""Extensions of files that are no plain texts."""
BLANK_LINE = re.compile(r"\n[^\S\n]*\n")


@dataclass(frozen=True)
class Passage:
    """A prefix and its continuation, of one document and next to each other."""

    document: str
    """The document's name."""
    prefix: str
    continuation: str
    """The continuation's text, with the white space that it begins with."""
    longest: int
    """The words that the continuation may have had at most; what is written to contrast with it may have as many."""


def sentences(text: str) -> list[str]:
    r"""The sentences of a text, each with the white space before it: joined they are the text.

    A sentence ends in a full stop, exclamation or question mark, with quotes and brackets closed after it, that is neither an
    abbreviation's nor an initial's and before no lower-case letter; and at a blank line. A full stop, exclamation or question mark
    of Chinese and Japanese ends one without white space after it.

    Example:
        >>> from counterpoint.rankers.training.passages import sentences
        >>> sentences('Mr. Darcy bowed. "Indeed!" cried she; "why?" he asked.')
        ['Mr. Darcy bowed.', ' "Indeed!" cried she; "why?" he asked.']
    """
    spans = [match.span() for match in RUN.finditer(text)]
    pairs = pairwise([*spans, (len(text), len(text))])
    ends = [end for (start, end), (after, _) in pairs if ends_there(text, start, end, after)]
    return [text[first:last] for first, last in pairwise([0, *ends, len(text)]) if first < last]


def ends_there(text: str, start: int, end: int, after: int) -> bool:
    """Whether a sentence ends with the word from ``start`` to ``end``, with white space up to ``after``."""
    if end == after:
        return after < len(text)
    following = text[after : after + 3].lstrip(OPENING)
    return bool(BLANK_LINE.search(text[end:after])) or (finished(text[start:end]) and not following[:1].islower())


def finished(word: str) -> bool:
    """Whether a sentence can end with this word."""
    bare = word.strip(OPENING + CLOSING).lower()
    return bool(FINISHED.search(word)) and bare not in ABBREVIATIONS and not INITIAL.fullmatch(word)


def whole_sentences(text: str, shortest: int, longest: int) -> str:
    """The longest run of finished sentences from a text's start that has at most ``longest`` words; "" if below ``shortest``.

    Example:
        >>> from counterpoint.rankers.training.passages import whole_sentences
        >>> whole_sentences(" It was dark. The whale rose. Then we", shortest=2, longest=7)
        ' It was dark. The whale rose.'
    """
    pieces = sentences(text)
    if pieces and not finished(pieces[-1].split()[-1] if pieces[-1].strip() else ""):
        pieces.pop()
    totals = accumulate(len(words(piece)) for piece in pieces)
    kept = [total for total in totals if total <= longest]
    return "".join(pieces[: len(kept)]) if kept and kept[-1] >= shortest else ""


def passages(
    document: str, text: str, *, prefix_words: int = 256, continuation_words: tuple[int, int] = (10, 128), seed: int = 0
) -> Iterator[Passage]:
    """Passages of a document whose continuations do not overlap, in its order.

    Each continuation is the longest run of whole sentences within a number of words drawn evenly from ``continuation_words`` (from
    those that its first sentence leaves), and its prefix the longest run of whole sentences before it within ``prefix_words``:
    Krishna et al., *RankGen* (2022, arXiv 2205.09726), have prefixes of 256 words and continuations of 10 to 128. Sentences for
    which there is no such run are passed over.

    Args:
        document: Name of the document.
        text: Text of the document.
        prefix_words: Largest number of words in a prefix.
        continuation_words: Smallest and largest number of words in a continuation.
        seed: Seed of the lengths, together with the text.

    Example:
        >>> from counterpoint.rankers.training.passages import passages
        >>> list(passages("a", "It was. The whale rose. We saw it. It sank.", prefix_words=5, continuation_words=(3, 3)))[1]
        Passage(document='a', prefix='It was. The whale rose.', continuation=' We saw it.', longest=3)
    """
    draw = random.Random(f"{seed} {text}")  # noqa: S311 - no secret
    pieces = sentences(text)
    totals = [0, *accumulate(len(words(piece)) for piece in pieces)]
    shortest, most = continuation_words
    first, start = 0, 1
    while start < len(pieces):
        longest = draw.randint(min(max(shortest, totals[start + 1] - totals[start]), most), most)
        while totals[start] - totals[first] > prefix_words:
            first += 1
        end = start
        while end < len(pieces) and totals[end + 1] - totals[start] <= longest:
            end += 1
        prefix = "".join(pieces[first:start]).strip()
        if prefix and totals[end] - totals[start] >= shortest:
            yield Passage(document, prefix, "".join(pieces[start:end]), longest)
            start = end
        else:
            start += 1


def check_passages(
    documents: Mapping[str, str], *, prefix_words: int = 256, continuation_words: tuple[int, int] = (10, 128), seed: int = 0
) -> None:
    """Look for a document with two passages, as far as the first.

    Raises:
        ValueError: If there is none, so that no continuation has another of the same document to be told from.
    """
    for name, text in documents.items():
        of_it = passages(name, text, prefix_words=prefix_words, continuation_words=continuation_words, seed=seed)
        if len([*islice(of_it, 2)]) == 2:
            return
    raise ValueError(
        f"none of the documents has two passages ({', '.join([*documents][:3])}{', ...' if len(documents) > 3 else ''}): in-book "
        "negatives need longer texts, or shorter prefixes and continuations"
    )


def read_documents(paths: Iterable[Path]) -> dict[str, str]:
    """The texts of files in UTF-8, and of all ``.txt`` files below folders, by their paths.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If a file is not UTF-8 or is one of records, a folder has no ``.txt`` file, or a file is named twice.
    """
    documents: dict[str, str] = {}
    for path in paths:
        files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
        if not files:
            raise ValueError(f"{path} is a folder without .txt files; name text files, or a folder of them")
        for file in files:
            if file.suffix.lower() in RECORDS:
                raise ValueError(f"{file} has records: plain texts are needed, a file for each document")
            if str(file) in documents:
                raise ValueError(f"{file} is named twice: each document once")
            try:
                documents[str(file)] = file.read_text(encoding="utf-8-sig")
            except UnicodeDecodeError as error:
                raise ValueError(f"{file} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    return documents
