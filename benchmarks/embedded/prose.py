"""From files as they come to documents: chapters, addresses and books, each a list of paragraphs on single lines."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "—": "--", "–": "-", "…": "...", "\u00a0": " ", "\ufeff": ""})
HEADING = re.compile(r"(chapter|volume|epilogue|finis|the end|etymology|extracts)\b.{0,80}", re.IGNORECASE)
GUTENBERG = re.compile(r"\*\*\*\s*(?:start|end) of (?:the|this) project gutenberg.*", re.IGNORECASE)
DATE = re.compile(r"[A-Z][a-z]+ \d{1,2}, \d{4}.{0,40}")
APPLAUSE = re.compile(r"\s*[(\[](?:applause|laughter)[^)\]]{0,40}[)\]]", re.IGNORECASE)
SHORT = 400  # characters: what is shorter is a title page, not a chapter


def read(path: Path) -> str:
    """The text of a file in UTF-8 or, failing that, Windows' Latin-1, with plain quotes, dashes and line ends."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="replace").replace("\ufffd", "")
    return text.replace("\r\n", "\n").translate(QUOTES)


def tidy(paragraph: str) -> str:
    """One paragraph on one line, without emphasis marks or stage directions."""
    return re.sub(r"\s+", " ", APPLAUSE.sub("", paragraph.replace("_", ""))).strip()


def novel(text: str, heading: re.Pattern[str] = HEADING) -> list[list[str]]:
    """Chapters of a novel, each a list of paragraphs; headings and what is too short for a chapter are dropped."""
    text = max(GUTENBERG.split(text), key=len)
    chapters: list[list[str]] = [[]]
    for block in re.split(r"\n\s*\n", text):
        paragraph = tidy(block)
        if heading.fullmatch(paragraph):
            chapters.append([])
        elif paragraph:
            chapters[-1].append(paragraph)
    return [chapter for chapter in chapters if sum(map(len, chapter)) > SHORT]


def is_title(paragraph: str) -> bool:
    """Whether a paragraph of a plain-text book is a heading: no lower-case letter in it, or a numbered chapter's name."""
    return len(paragraph) <= 80 and (paragraph.upper() == paragraph or HEADING.fullmatch(paragraph) is not None)


def tales(text: str) -> list[list[str]]:
    """Chapters of a book whose headings are in capitals, as collections of tales have them."""
    text = max(GUTENBERG.split(text), key=len)
    if text.count("\n\n") < text.count("\n") / 50:  # blank lines were lost: a paragraph ends with a short line
        text = re.sub(r"(?m)^(.{1,55}[.!?\"'])$", r"\1\n", text)
    chapters: list[list[str]] = [[]]
    for block in re.split(r"\n\s*\n", text):
        paragraph = tidy(block)
        if is_title(paragraph) and not paragraph.endswith(("!", "?", '"')):
            chapters.append([])
        elif paragraph and not paragraph.startswith(("Produced by", "[")):
            chapters[-1].append(paragraph)
    return [chapter for chapter in chapters if sum(map(len, chapter)) > SHORT]


def speech(text: str) -> list[str]:
    """Paragraphs of an address, without the title and date above it."""
    paragraphs = [paragraph for paragraph in map(tidy, text.split("\n")) if paragraph]
    while paragraphs and (paragraphs[0].isupper() or DATE.fullmatch(paragraphs[0])):
        paragraphs.pop(0)
    return paragraphs


def sword(folder: Path, books: frozenset[str]) -> list[tuple[str, list[str]]]:
    """The named books of a SWORD module (``zText``, one zlib block a book) as lists of paragraphs, without notes and titles."""
    found = []
    for testament in ("ot", "nt"):
        data = (folder / f"{testament}.bzz").read_bytes()
        index = (folder / f"{testament}.bzs").read_bytes()
        for offset, size, _ in struct.iter_unpack("<III", index):
            text = zlib.decompress(data[offset : offset + size]).decode("utf-8")
            name = re.search(r'osisID="(\w+)"[^>]*type="book"', text)
            if name is None or name[1] not in books:
                continue
            text = re.sub(r"<(note|title)\b[^>]*>.*?</\1>", "", text[text.index(">", name.end()) + 1 :], flags=re.DOTALL)
            text = re.sub(r'<div sID="[^"]*" type="x-p"/>|<chapter [^>]*sID[^>]*/>|<lg [^>]*/>|<lg[^>]*>', "\n\n", text)
            text = re.sub(r"<[^>]+>", "", text).translate(QUOTES)
            paragraphs = [tidy(block) for block in re.split(r"\n\s*\n", text)]
            found.append((name[1], [paragraph for paragraph in paragraphs if paragraph]))
    return found
