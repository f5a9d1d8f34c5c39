"""The files of a benchmark's directory, as they are read: any number of processes write them, one line a result.

- ``config.json``: what was run: ``run`` (all that every text depends on), ``decoders``, ``num_prompts``, ``num_seeds``,
  ``metrics``, ``environment``;
- ``generations*.jsonl``: ``key``, ``decoder``, ``label``, ``parameters``, ``model``, ``revision``, ``dtype``, ``seed``, ``index``,
  ``prompt``, ``reference``, ``text``, ``tokens``, ``finished``;
- ``speed.jsonl``: ``key``, ``decoder``, ``label``, ``tokens_per_second``, ``relative``, ``repeats``, ``peak_memory_bytes``,
  ``batch_size``;
- ``failures*.jsonl``: ``key``, ``decoder``, ``label``, ``error``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from counterpoint.eval.journal import read_records

Record = dict[str, Any]


def read_config(directory: Path) -> Record:
    """What was run.

    Raises:
        ValueError: If the directory is not one of ``counterpoint bench``.
    """
    try:
        config: Record = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{directory}: no directory that `counterpoint bench --output-dir` wrote ({error})") from error
    return config


def read_generations(directory: Path) -> list[Record]:
    """The texts of what ``config.json`` says, each once, by decoder (in its order), seed and prompt."""
    config = read_config(directory)
    order = {decoder["label"]: place for place, decoder in enumerate(config["decoders"])}
    found = {
        record["key"]: record
        for record in read_records(directory, "generations*.jsonl")
        if record["label"] in order and record["seed"] < config["num_seeds"] and record["index"] < config["num_prompts"]
    }
    return sorted(found.values(), key=lambda record: (order[record["label"]], record["seed"], record["index"]))


def read_speed(directory: Path) -> list[Record]:
    """The speed of each decoder that was timed, the last measurement of each."""
    return list({record["label"]: record for record in read_records(directory, "speed.jsonl")}.values())


def read_failures(directory: Path) -> list[Record]:
    """Decoders that failed, each once."""
    return list({record["label"]: record for record in read_records(directory, "failures*.jsonl")}.values())
