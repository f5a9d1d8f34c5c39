"""The folder of a training: it records what was begun in it, so that the same call goes on and another one is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from counterpoint.eval.journal import write_whole

RECORD = "training.json"
"""Settings, model and data of a training, and its figures once it has ended."""


def as_json(run: Mapping[str, Any]) -> dict[str, Any]:
    """A record as it is read back: tuples are lists."""
    record: dict[str, Any] = json.loads(json.dumps(run))
    return record


def begin(folder: Path, run: Mapping[str, Any]) -> dict[str, Any]:
    """The record of an earlier call with the same ``run``, an empty one if the folder is new.

    Raises:
        ValueError: If the folder holds anything else, or a training that was begun with another ``run``; the message names the
            first setting that differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / RECORD).exists():
        if any(file.suffix != ".new" for file in folder.iterdir()):  # which a kill may leave
            raise ValueError(f"output {folder} holds files that no training has left there; choose a new folder")
        return {}
    record = read_record(folder)
    for name, value in run.items():
        if record.get(name) != value:
            raise ValueError(
                f"output {folder} was begun with {name}={record.get(name)!r}, now it is {value!r}; "
                "go on with what it was begun with, or choose a new folder"
            )
    return record


def read_record(folder: Path) -> dict[str, Any]:
    """What ``training.json`` holds."""
    record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return record


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``training.json``, whole or not at all."""
    write_whole(folder / RECORD, json.dumps(record, indent=2))


def versions(*packages: str) -> dict[str, str]:
    """The releases of the packages that a result depends on, this one first."""
    return {package: version(package) for package in ("counterpoint", *packages)}
