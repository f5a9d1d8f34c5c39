"""Results that are written one by one and found again: a run that was killed goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class Journal:
    """A file of results, one JSON object a line, each under a key.

    A line is written at once and whole or not at all: what a kill left of a last line is cut off when the file is opened again.

    Args:
        path: The file; it and its folder are made if they are not there.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        whole = whole_lines(path)
        if len(whole) < path.stat().st_size:
            os.truncate(path, len(whole))
        self.results: dict[str, dict[str, Any]] = {record["key"]: record for record in map(json.loads, whole.splitlines())}
        self.path = path

    def __contains__(self, key: str) -> bool:
        return key in self.results

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self.results[key]

    def add(self, key: str, record: Mapping[str, Any]) -> None:
        """Write a result, to the disk before this returns."""
        self.results[key] = {"key": key, **record}
        with self.path.open("ab") as file:
            file.write(json.dumps(self.results[key], ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def whole_lines(path: Path) -> bytes:
    """A file without what a kill left of its last line."""
    content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1]


def read_records(folder: Path, pattern: str) -> Iterator[dict[str, Any]]:
    """The records of all journals in a folder whose names fit, which other processes may be writing."""
    for path in sorted(folder.glob(pattern)):
        yield from map(json.loads, whole_lines(path).splitlines())


def key_of(*parts: Any) -> str:
    """A name for everything that a result depends on; other parts have another name.

    Example:
        >>> from counterpoint.eval.journal import key_of
        >>> key_of("model", {"alpha": 0.1}) == key_of("model", {"alpha": 0.2})
        False
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def write_whole(path: Path, content: str) -> None:
    """A file that is the old one or the new one at any time."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w", encoding="utf-8", newline="\n") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
