"""Results that are written one by one and found again: a run that was killed goes on where it stopped.

A line is a JSON object under a key, with the releases it was made by and a checksum of all of it. Whatever has no right checksum
was cut, flipped, or written by somebody else: it is named, set aside, and done again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zlib import crc32

from safetensors import SafetensorError

LOGGER = logging.getLogger(__name__)
LIBRARIES = ("counterpoint", "transformers", "torch")
"""Whose releases are recorded with every result; results of others are kept, and named."""

Record = dict[str, Any]


class WriteError(OSError):
    """A file of results cannot be written; what is in it stays, and the same command goes on."""


class Journal:
    """A file of results, one JSON object a line, each under a key.

    What a kill or a full disk left of a last line is cut off when the file is opened again and before the next line is written;
    other lines that are damaged are named and set aside (:func:`mend`). A journal has one writer at a time.

    Args:
        path: The file; it and its folder are made if they are not there.

    Raises:
        OSError: If it cannot be read or made.
    """

    def __init__(self, path: Path) -> None:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        self.results: dict[str, Record] = {record["key"]: record for record in mend(path)}
        self.path, self.end = path, path.stat().st_size

    def __contains__(self, key: str) -> bool:
        return key in self.results

    def __getitem__(self, key: str) -> Record:
        return self.results[key]

    def add(self, key: str, record: Mapping[str, Any]) -> None:
        """Write a result, to the disk before this returns.

        Raises:
            WriteError: If the disk is full or the file is gone; the result then counts as not done.
        """
        found = {"key": key, "versions": releases(), **record}
        line = line_of(found)
        with writing(self.path), self.path.open("r+b") as file:
            file.truncate(self.end)
            file.seek(self.end)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.end += len(line)
        self.results[key] = found


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Report errors of the operating system in one line that names the file and the way out.

    Raises:
        WriteError: In place of another ``OSError``.
    """
    try:
        yield
    except WriteError:
        raise
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "inline_container" not in str(error):  # what torch.save says of a full disk
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise WriteError(
            f"{path} cannot be written: {reason}; what was finished is kept, and once that is mended the same command goes on"
        ) from error


def line_of(record: Mapping[str, Any]) -> bytes:
    """A record as a line of a journal, with its checksum."""
    return json.dumps({**record, "checksum": checksum(record)}, ensure_ascii=False).encode() + b"\n"


def checksum(record: Mapping[str, Any]) -> str:
    """CRC-32 of a record, whatever the order of its fields."""
    return f"{crc32(json.dumps(record, sort_keys=True).encode()):08x}"


def record_of(line: bytes) -> Record | None:
    """The record of a line, None if the line is damaged or no journal's.

    Example:
        >>> from counterpoint.eval.journal import line_of, record_of
        >>> line = line_of({"key": "a", "text": "whale"})
        >>> record_of(line), record_of(line.replace(b"whale", b"while")), record_of(b"[1, 2]")
        ({'key': 'a', 'text': 'whale'}, None, None)
    """
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("key"), str):
        return None
    return record if record.pop("checksum", None) == checksum(record) else None


def mend(path: Path) -> list[Record]:
    """The records of a journal that this process alone writes, each key once, after what is damaged was taken out of the file.

    What follows the last line break is what a kill left, and is cut off without a word. Other damaged lines are named and moved to
    ``NAME.damaged``.
    """
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.split(b"\n")[:-1]
    found = [record_of(line) for line in lines]
    damaged = [number for number, record in enumerate(found) if record is None]
    with writing(path):
        if damaged:
            aside = path.with_name(f"{path.name}.damaged")
            with aside.open("ab") as file:
                file.write(b"".join(lines[number] + b"\n" for number in damaged))
            write_bytes(path, b"".join(line + b"\n" for line, record in zip(lines, found, strict=True) if record is not None))
            places = ", ".join(str(number + 1) for number in damaged[:5]) + (", ..." if len(damaged) > 5 else "")
            LOGGER.warning("%s, line %s: damaged; set aside in %s, and done again", path, places, aside.name)
        elif len(whole) < len(content):
            os.truncate(path, len(whole))
    records = {record["key"]: record for record in found if record is not None}
    return list(records.values())


def read_records(folder: Path, pattern: str) -> Iterator[Record]:
    """The whole records of all journals in a folder whose names fit, which other processes may be writing."""
    for path in sorted(folder.glob(pattern)):
        with path.open("rb") as lines:
            yield from filter(None, map(record_of, lines))


@cache
def releases() -> dict[str, str]:
    """The releases of :data:`LIBRARIES` that run."""
    return {name: version(name) for name in LIBRARIES}


def name_other_releases(records: Iterable[Mapping[str, Any]], what: str) -> None:
    """Say so if results were made by other releases than those that run; they are kept."""
    made_by = {tuple(record["versions"].get(name) for name in LIBRARIES) for record in records if "versions" in record}
    now = tuple(releases().values())
    for found in sorted(made_by - {now}, key=str):
        told = ", ".join(f"{name} {was} (now {new})" for name, was, new in zip(LIBRARIES, found, now, strict=True) if was != new)
        LOGGER.warning("%s holds results made by %s; they are kept", what, told)


def key_of(*parts: Any) -> str:
    """A name for everything that a result depends on; other parts have another name.

    Example:
        >>> from counterpoint.eval.journal import key_of
        >>> key_of("model", {"alpha": 0.1}) == key_of("model", {"alpha": 0.2})
        False
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def write_whole(path: Path, content: str) -> None:
    """A file that is the old one or the new one at any time.

    Raises:
        WriteError: If the disk is full, or the folder is gone.
    """
    with writing(path):
        write_bytes(path, content.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """The same for bytes."""
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
