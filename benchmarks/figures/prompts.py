"""A thousand passages to continue: those that come with the package, and paragraphs of WikiText-2's test set, evenly spaced.

Usage: ``python prompts.py wiki.test.raw --output prompts.jsonl``. A paragraph has at least 600 characters, which leaves 64 tokens
to compare with after a prompt of 32. Writes a line ``{"text": ...}`` a passage, the packaged ones first, in an order that stays.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from counterpoint.eval.bench.passages import PROMPTS

NUMBER = 1000
CHARACTERS = 600


def packaged() -> list[str]:
    """The passages that come with the package, whole."""
    lines = PROMPTS.read_text(encoding="utf-8").splitlines()
    return [line["prompt"] + line["reference"] for line in map(json.loads, lines)]


def paragraphs(raw: str) -> list[str]:
    """WikiText's paragraphs of at least so many characters; headings are lines between equals signs."""
    lines = (line.strip() for line in raw.splitlines())
    return [line for line in lines if len(line) >= CHARACTERS and not line.startswith("=")]


def spaced(found: list[str], number: int) -> list[str]:
    """So many of them, as far from each other as can be, in their order."""
    if number > len(found):
        raise SystemExit(f"{len(found)} paragraphs of {CHARACTERS} characters, {number} are needed: is it the whole test set?")
    return [found[index * len(found) // number] for index in range(number)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wikitext", type=Path, help="WikiText-2's test set as it is published, wiki.test.raw")
    parser.add_argument("--output", type=Path, default=Path("prompts.jsonl"))
    arguments = parser.parse_args()
    own = packaged()
    texts = own + spaced(paragraphs(arguments.wikitext.read_text(encoding="utf-8")), NUMBER - len(own))
    arguments.output.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


if __name__ == "__main__":
    main()
