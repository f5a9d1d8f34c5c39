"""The files of a benchmark's directory, as they are read: any number of processes write them, one line a result.

- ``config.json``: what was run: ``run`` (all that every text depends on), ``decoders`` (of all runs in the directory, each with
  its ``seeds``, ``num_prompts`` and ``task``, a name for what it depends on; of what ran elsewhere ``made_by`` and ``model`` too),
  ``num_prompts``, ``num_seeds``, ``metrics``, ``versions``, ``environment``, ``kernels`` (of products of a few rows, where it is
  not the plain one);
- ``generations*.jsonl``: ``key``, ``task``, ``decoder``, ``label``, ``parameters``, ``model``, ``revision``, ``dtype``, ``seed``,
  ``index``, ``prompt``, ``reference``, ``text``, ``tokens``, ``finished``; of texts that were made elsewhere ``made_by``, without
  ``revision`` and ``dtype``;
- ``speed.jsonl``: ``key``, ``decoder``, ``label``, ``tokens_per_second``, ``relative``, ``repeats``, ``peak_memory_bytes``,
  ``batch_size``;
- ``failures*.jsonl``: ``key``, ``decoder``, ``label``, ``error``.

The lines of ``.jsonl`` files have ``versions``, the releases that made them, and ``checksum`` too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from counterpoint.eval.inputs import json_file
from counterpoint.eval.journal import read_records

Record = dict[str, Any]
HUMAN = "human"
"""The label of human references."""


def read_config(directory: Path) -> Record:
    """What was run.

    Raises:
        ValueError: If the directory is not one of ``counterpoint bench``.
    """
    try:
        config: Record = json_file(directory / "config.json", "decoders")
    except (OSError, ValueError) as error:
        raise ValueError(f"{directory}: no directory that `counterpoint bench --output-dir` wrote ({error})") from error
    return config


def read_generations(directory: Path) -> list[Record]:
    """The texts of what ``config.json`` says, none of other weights, each once, by decoder (in its order), seed and prompt."""
    config = read_config(directory)
    decoders = {decoder["task"]: decoder for decoder in config["decoders"]}
    order = {decoder["label"]: place for place, decoder in enumerate(config["decoders"])}
    found = {
        record["key"]: record
        for record in read_records(directory, "generations*.jsonl")
        if (decoder := decoders.get(record["task"])) is not None
        and record["seed"] < decoder["seeds"]
        and record["index"] < decoder["num_prompts"]
    }
    return sorted(found.values(), key=lambda record: (order[record["label"]], record["seed"], record["index"]))


def read_speed(directory: Path) -> list[Record]:
    """The speed of each decoder that was timed, the last measurement of each."""
    tasks = {decoder["task"] for decoder in read_config(directory)["decoders"]}
    found = [record for record in read_records(directory, "speed.jsonl") if record["task"] in tasks]
    return list({record["label"]: record for record in found}.values())


def read_failures(directory: Path) -> list[Record]:
    """Decoders that failed, each once."""
    return list({record["label"]: record for record in read_records(directory, "failures*.jsonl")}.values())


def read_results(directory: Path) -> dict[str, Any]:
    """What :func:`~counterpoint.eval.bench.results.score_directory` wrote.

    Raises:
        ValueError: If it has not been scored yet.
    """
    try:
        results = json_file(directory / "results.json", "rows", "columns", "config", "human", "files")
    except (OSError, ValueError) as error:
        raise ValueError(f"{directory}: no results yet; `counterpoint bench score {directory}` computes them ({error})") from error
    return results
