"""Directories as ``counterpoint bench`` leaves them, with texts of our own."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from counterpoint.eval.journal import line_of

PROMPTS = ("The ship", "My fellow citizens,", "The garden", "It was", "The king")
WORDS = "the a of and sea whale ship captain old man house night said was came went she he it no".split()
Texts = Mapping[str, Mapping[int, Sequence[str]]]
"""By label and seed, in the order of the prompts."""


def write_run(folder: Path, texts: Texts, references: Sequence[str | None] | None = None, **changes: Any) -> Path:
    """A run of the decoders that the labels begin with; ``changes`` are of its settings."""
    folder.mkdir(parents=True, exist_ok=True)
    count = max(len(each) for seeds in texts.values() for each in seeds.values())
    prompts = [PROMPTS[index] if index < len(PROMPTS) else f"Prompt {index}" for index in range(count)]
    records = [
        {
            **named(label),
            "key": f"{label} {seed} {index}",
            "task": label,
            "model": "a model",
            "revision": "1",
            "dtype": "float32",
            "seed": seed,
            "index": index,
            "prompt": prompts[index],
            "reference": references[index] if references else None,
            "text": text,
            "tokens": len(text.split()),
            "finished": False,
        }
        for label, seeds in texts.items()
        for seed, found in seeds.items()
        for index, text in enumerate(found)
    ]
    config = {
        "run": {"revision": "1", "dtype": "float32", "max_new_tokens": 32, **changes},
        "model": "a model",
        "prompts": "prompts.jsonl",
        "decoders": [{**named(label), "task": label, "seeds": len(seeds), "num_prompts": count} for label, seeds in texts.items()],
        "num_prompts": count,
        "num_seeds": max(map(len, texts.values())),
        "metrics": None,
        "environment": {"python": "3"},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    write_lines(folder / "generations.jsonl", records)
    return folder


def write_speed(folder: Path, speeds: Mapping[str, float]) -> None:
    """Tokens a second by label, the first of which is greedy search's."""
    base = next(iter(speeds.values()))
    write_lines(
        folder / "speed.jsonl",
        [
            {
                **named(label),
                "key": label,
                "task": label,
                "tokens_per_second": speed,
                "relative": speed / base,
                "repeats": [speed - 1, speed, speed + 1],
                "peak_memory_bytes": 2**30,
                "batch_size": 4,
            }
            for label, speed in speeds.items()
        ],
    )


def named(label: str) -> dict[str, Any]:
    """A decoder by its label."""
    name, *settings = re.split(r"[:, ]", label)
    return {"decoder": name, "label": label, "parameters": dict(setting.split("=") for setting in settings)}


def write_lines(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """A journal."""
    path.write_bytes(b"".join(map(line_of, records)))


def sentences(count: int, seed: int, words: Sequence[str] = WORDS, length: int = 20) -> list[str]:
    """Texts of random words."""
    draw = random.Random(seed)  # noqa: S311, no secret
    return [" " + " ".join(draw.choices(words, k=length)) for _ in range(count)]
