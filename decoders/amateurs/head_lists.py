"""Attention heads as text and files have them; no torch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import mean

Head = tuple[int, int]
"""A layer, and the query head in it; both count from 0."""


def parse_heads(text: str, count: int) -> list[Head]:
    """Heads as text has them: ``LAYER-HEAD`` with "+" between them, or a file, of which the ``count`` best are taken.

    Args:
        text: Heads, or the path of a file as ``counterpoint retrieval-heads`` writes it.
        count: How many of a file's heads.

    Raises:
        ValueError: For no heads, a file of another format, or of fewer heads.
        FileNotFoundError: If there is no such file.

    Example:
        >>> from counterpoint.decoders.amateurs.head_lists import parse_heads
        >>> parse_heads("1-0+2-3", count=50)
        [(1, 0), (2, 3)]
    """
    if not text:
        raise ValueError("decore needs heads=FILE, which counterpoint retrieval-heads writes, or heads=LAYER-HEAD+LAYER-HEAD")
    if re.fullmatch(r"\d+-\d+(\+\d+-\d+)*", text):
        return [head_of(each) for each in text.split("+")]
    scores = read_heads(Path(text))
    if count > len(scores):
        raise ValueError(f"count={count}: {text} has {len(scores)} heads; take fewer of them")
    return sorted(scores, key=lambda head: -scores[head])[:count]


def read_heads(path: Path) -> dict[Head, float]:
    """The mean score of each head of a file ``{"LAYER-HEAD": [score, ...], ...}``, the format of arXiv 2404.15574's released ones.

    Raises:
        ValueError: For a file of another format.
        FileNotFoundError: If there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"heads={path}: no such file; counterpoint retrieval-heads writes one, and 1-0+2-3 names heads")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {head_of(name): mean(map(float, scores)) for name, scores in found.items()}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f'heads={path} is not a file of heads, {{"LAYER-HEAD": [score, ...], ...}}: {error}') from error


def head_of(name: str) -> Head:
    """``LAYER-HEAD`` as numbers.

    Raises:
        ValueError: If it is written otherwise.
    """
    if not re.fullmatch(r"\d+-\d+", name):
        raise ValueError(f"{name!r} is not LAYER-HEAD, such as 2-3")
    layer, head = name.split("-")
    return int(layer), int(head)
