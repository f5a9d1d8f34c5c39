"""Passages of the held-out documents as prompts and references for ``counterpoint bench``.

Usage: ``python prompts.py --corpus corpus --output ../../eval/data/prompts.jsonl``, after ``corpus.py``.

A passage begins where a paragraph does and may run over several. Its first 20 words are the prompt, the next 120 the reference.
Every source gives as many as its share of all passages, spread evenly over the source, and no two overlap.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

PROMPT, REFERENCE = 20, 120  # words


def passages(text: str) -> list[tuple[str, str]]:
    """Prompt and reference of each passage, one after the other."""
    found = []
    words: list[str] = []
    for paragraph in text.split("\n"):
        words += paragraph.split(" ")
        if len(words) >= PROMPT + REFERENCE:
            found.append((" ".join(words[:PROMPT]), " " + " ".join(words[PROMPT : PROMPT + REFERENCE])))
            words = []
    return found


def spread(passages: list[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """``count`` of them, evenly."""
    return [passages[index * len(passages) // count] for index in range(min(count, len(passages)))]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    arguments = parser.parse_args()
    sources: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for line in (arguments.corpus / "heldout.jsonl").read_text(encoding="utf-8").splitlines():
        document = json.loads(line)
        sources[document["source"]] += passages(document["text"])
    total = sum(map(len, sources.values()))
    chosen = [
        (index / len(kept), source, pair)
        for source, found in sources.items()
        for kept in [spread(found, round(arguments.count * len(found) / total))]
        for index, pair in enumerate(kept)
    ]
    lines = [  # by the place within the source: the first N prompts are of all of them
        json.dumps({"prompt": prompt, "reference": reference, "source": source}, ensure_ascii=False)
        for _, source, (prompt, reference) in sorted(chosen)
    ]
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} prompts of {total} passages")


if __name__ == "__main__":
    main()
