"""Clean public-domain prose into training and held-out documents.

Usage: ``python corpus.py --novels DIR --speeches DIR --output-dir DIR``

Writes ``train.jsonl`` and ``heldout.jsonl`` (one ``{"source", "text"}`` document a line) and ``manifest.json`` (the SHA-256 of
every source file and the sizes of both splits). Paragraphs become single lines, documents are chapters or whole speeches. Held
out are the last paragraphs of every novel and the most recent addresses of every speech collection, about 5 % of each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from pathlib import Path

HELD_OUT = 0.05
QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "—": "--", "–": "-", "…": "...", "\u00a0": " ", "\ufeff": ""})
HEADING = re.compile(r"(chapter|volume|epilogue|finis|the end|etymology|extracts)\b.{0,80}", re.IGNORECASE)
GUTENBERG = re.compile(r"\*\*\*\s*(?:start|end) of (?:the|this) project gutenberg.*", re.IGNORECASE)
DATE = re.compile(r"[A-Z][a-z]+ \d{1,2}, \d{4}.{0,40}")
APPLAUSE = re.compile(r"\s*[(\[](?:applause|laughter)[^)\]]{0,40}[)\]]", re.IGNORECASE)


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


def novel(text: str) -> list[list[str]]:
    """Chapters of a novel, each a list of paragraphs; headings and what comes before the first of them are dropped."""
    marks = GUTENBERG.split(text)
    text = max(marks, key=len)
    chapters: list[list[str]] = [[]]
    for block in re.split(r"\n\s*\n", text):
        paragraph = tidy(block)
        if HEADING.fullmatch(paragraph):
            chapters.append([])
        elif paragraph:
            chapters[-1].append(paragraph)
    return [chapter for chapter in chapters if sum(map(len, chapter)) > 400]


def speech(text: str) -> list[str]:
    """Paragraphs of an address, without the title and date above it."""
    paragraphs = [paragraph for paragraph in map(tidy, text.split("\n")) if paragraph]
    while paragraphs and (paragraphs[0].isupper() or DATE.fullmatch(paragraphs[0])):
        paragraphs.pop(0)
    return paragraphs


def split_novel(chapters: list[list[str]]) -> tuple[list[str], list[str]]:
    """Documents to train on and, from the last paragraphs of the novel, documents to hold out."""
    budget = HELD_OUT * sum(len(paragraph) for chapter in chapters for paragraph in chapter)
    train, held = [], []
    for chapter in reversed(chapters):
        kept = list(chapter)
        last: list[str] = []
        while kept and budget > 0:
            last.insert(0, kept.pop())
            budget -= len(last[0])
        held += ["\n".join(last)] if last else []
        train += ["\n".join(kept)] if kept else []
    return train[::-1], held[::-1]


def split_speeches(speeches: list[str]) -> tuple[list[str], list[str]]:
    """Addresses to train on and the most recent ones, held out whole."""
    budget, first = HELD_OUT * sum(map(len, speeches)), len(speeches)
    while budget > 0:
        first -= 1
        budget -= len(speeches[first])
    return speeches[:first], speeches[first:]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--novels", type=Path, required=True, help="folder of *.txt, one novel each")
    parser.add_argument("--speeches", type=Path, required=True, help="folder of collections, each a folder of *.txt")
    parser.add_argument("--output-dir", type=Path, required=True)
    arguments = parser.parse_args()

    splits: dict[str, list[dict[str, str]]] = {"train": [], "heldout": []}
    sources: dict[str, str] = {}

    def add(source: str, train: list[str], held: list[str]) -> None:
        splits["train"] += [{"source": source, "text": text} for text in train]
        splits["heldout"] += [{"source": source, "text": text} for text in held]

    for path in sorted(arguments.novels.glob("*.txt")):
        sources[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        add(path.stem, *split_novel(novel(read(path))))
    for folder in sorted(path for path in arguments.speeches.iterdir() if path.is_dir()):
        addresses = []
        for path in sorted(folder.glob("*.txt")):
            sources[f"{folder.name}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
            addresses.append("\n".join(speech(read(path))))
        add(folder.name, *split_speeches(addresses))

    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    sizes = {}
    for name, documents in splits.items():
        lines = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
        (arguments.output_dir / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        sizes[name] = {
            "documents": len(documents),
            "bytes": sum(len(document["text"].encode()) for document in documents),
            "words": sum(len(document["text"].split()) for document in documents),
            "sha256": hashlib.sha256(lines.encode()).hexdigest(),
        }
    manifest = {"splits": sizes, "sources": sources}
    (arguments.output_dir / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(sizes, indent=2))


if __name__ == "__main__":
    main()
