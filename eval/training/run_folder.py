"""The folder of a training: it records what was begun in it, so that the same call goes on and another one is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from counterpoint.eval.directories import LOCK, make
from counterpoint.eval.inputs import json_file
from counterpoint.eval.journal import name_other_releases, releases, write_whole

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
    make(folder)
    if not (folder / RECORD).exists():
        if any(file.suffix != ".new" and file.name != LOCK for file in folder.iterdir()):  # which a kill may leave
            raise ValueError(f"output {folder} holds files that no training has left there; choose a new folder")
        return {}
    record = read_record(folder)
    name_other_releases([record], str(folder))
    for name, value in run.items():
        if record.get(name) != value:
            raise ValueError(
                f"output {folder} was begun with {name}={record.get(name)!r}, now it is {value!r}; "
                "go on with what it was begun with, or choose a new folder"
            )
    return record


def read_record(folder: Path) -> dict[str, Any]:
    """What ``training.json`` holds.

    Raises:
        ValueError: If it is damaged.
    """
    try:
        record = json_file(folder / RECORD)
    except ValueError as error:
        raise ValueError(
            f"output {folder / RECORD} is damaged ({error}); delete the folder and train anew, or take another folder"
        ) from error
    return record


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``training.json``, whole or not at all."""
    write_whole(folder / RECORD, json.dumps(record, indent=2))


def versions(*packages: str) -> dict[str, str]:
    """The releases of the packages that a training depends on, those of every result first."""
    return releases() | {package: version(package) for package in packages}
