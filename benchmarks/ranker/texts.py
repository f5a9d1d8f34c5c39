"""The corpus of the embedded models as the plain text files that ``counterpoint train-ranker`` reads, with the same held out.

Usage: ``python texts.py --corpus DIR --output-dir DIR``, after ``benchmarks/embedded/corpus.py``.

Writes ``train/`` and ``heldout/``: a file for each book (of the held-out ones its last 5 %) and for each address.
"""

from __future__ import annotations

import argparse
import json
from itertools import groupby
from pathlib import Path

COLLECTIONS = ("inaugural", "state_union")  # of addresses, each a document; a novel's documents are its chapters


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder written by corpus.py")
    parser.add_argument("--output-dir", type=Path, required=True)
    arguments = parser.parse_args()
    for split in ("train", "heldout"):
        folder = arguments.output_dir / split
        folder.mkdir(parents=True, exist_ok=True)
        lines = (arguments.corpus / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        for source, documents in groupby(map(json.loads, lines), key=lambda document: document["source"]):
            texts = [document["text"] for document in documents]
            if source in COLLECTIONS:
                for number, text in enumerate(texts):
                    (folder / f"{source}-{number:02}.txt").write_text(text + "\n", encoding="utf-8")
            else:  # corpus.py lists held-out chapters last first
                (folder / f"{source}.txt").write_text(
                    "\n".join(texts if split == "train" else texts[::-1]) + "\n", encoding="utf-8"
                )


if __name__ == "__main__":
    main()
