"""Files that people give, as text, JSON Lines or CSV: complaints have the file and the line, and come before a model is loaded."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
JSON_LINES, PLAIN = (".jsonl", ".ndjson", ".json"), (".txt", ".text")
"""Extensions of files of JSON objects and of texts, a line each; of a file with another one the first line says it."""


def decoded(content: bytes, source: str) -> str:
    """A file's text, without a byte order mark.

    Raises:
        ValueError: If it is not UTF-8, with the line.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"{source}, line {line}: not UTF-8 text ({error.reason}); save the file as UTF-8") from error


def check_text(text: str, where: str) -> str:
    """The text, if it is one.

    Raises:
        ValueError: If it holds half of a character (a lone surrogate), which stands for bytes of another encoding too.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise ValueError(f"{where}: holds half of a character, {half!r}: it was cut, or is not in UTF-8") from error
    return text


def json_value(line: str, where: str) -> Any:
    """The JSON value of a line.

    Raises:
        ValueError: If it is not JSON, is nested too deeply, has a number or a text in it that is none, or a name twice.

    Example:
        >>> from counterpoint.eval.inputs import json_value
        >>> json_value('{"prompt": "It was"}', "line 1")
        {'prompt': 'It was'}
    """
    try:
        value = json.loads(line, parse_constant=no_number, parse_float=number, parse_int=whole_number, object_pairs_hook=unique)
        check_text(json.dumps(value, ensure_ascii=False), where)
    except RecursionError as error:
        raise ValueError(f"{where}: nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not a JSON object ({error.msg} at character {error.pos})") from error
    except ValueError as error:
        raise error if str(error).startswith(where) else ValueError(f"{where}: {error}") from error
    return value


def no_number(word: str) -> float:
    """Refuse NaN and Infinity, which are no JSON."""
    raise ValueError(f"{word} is not a number of JSON")


def number(text: str) -> float:
    """A number that a float can hold."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:20]} is out of a float's range")
    return value


def whole_number(text: str) -> int:
    """A number as long as Python reads one."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"the number {text[:20]}... has {len(text)} digits; write it as a text") from None


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, if each of its names stands there once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands there twice; name each value once")
    return found


def json_object(line: str, where: str) -> Row:
    """The JSON object of a line.

    Raises:
        ValueError: As :func:`json_value` does, and for what is no object.
    """
    value = json_value(line, where)
    if not isinstance(value, dict):
        raise ValueError(f"{where}: not a JSON object; write one a line")
    return value


def json_file(path: Path, *names: str) -> dict[str, Any]:
    """The object that a command of this package wrote to a file, with these names in it.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no such object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"it has no {missing[0]!r}")
    return found


def csv_rows(text: str, source: str) -> list[list[str]]:
    """The rows of a CSV file, the header first; blank lines are empty rows.

    Raises:
        ValueError: For what cannot be read, such as a cell beyond csv's limit, with the row (the header is row 1); for a header
            with a name twice.
    """
    rows: list[list[str]] = []
    try:
        for row in csv.reader(StringIO(text, newline="")):
            rows.append(row)
    except csv.Error as error:
        way_out = "; is a quotation mark left open?" if "limit" in str(error) else ""
        raise ValueError(f"{source}, row {len(rows) + 1}: {error}{way_out}") from error
    twice = next((name for name in (rows[0] if rows else []) if rows[0].count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{source}, row 1: column {twice!r} stands there twice; name each column once")
    return rows


def csv_records(text: str, source: str) -> list[tuple[str, Row]]:
    """The rows below the header by its names, each with where it is.

    Raises:
        ValueError: As :func:`csv_rows` does, and for a row that has not as many cells as the header.
    """
    rows = csv_rows(text, source)
    found: list[tuple[str, Row]] = []
    for place, row in enumerate(rows[1:], 2):
        if row and len(row) != len(rows[0]):
            raise ValueError(f"{source}, row {place}: {len(row)} columns, the header has {len(rows[0])}")
        if row:
            found.append((f"{source}, row {place}", dict(zip(rows[0], row, strict=True))))
    return found


def lines_or_records(text: str, source: str) -> list[tuple[str, str | Row]]:
    """The lines of a text, or its records if it is JSON Lines or CSV, each with where it is; blank lines are left out.

    What it is the extension says; for another one, and for standard input, the first line does.

    Raises:
        ValueError: If there is nothing in it, or it is not what its extension says, with the line.
    """
    extension = Path(source).suffix.lower()
    if extension == ".csv":
        found: list[tuple[str, str | Row]] = [*csv_records(text, source)]
    else:
        lines = [(f"{source}, line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        is_json = extension in JSON_LINES or (extension not in PLAIN and bool(lines) and begins_json(lines[0][1]))
        found = [
            (where, json_object(line, where) if is_json else check_text(line.removesuffix("\r"), where)) for where, line in lines
        ]
    if not found:
        raise ValueError(f"{source}: no prompts in it; write one a line")
    return found


def begins_json(line: str) -> bool:
    """Whether a line is a JSON object."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


DEEPEST = 8
"""Levels of a file of options."""


def yaml_mapping(path: Path, where: str) -> dict[Any, Any]:
    """The options of a YAML file, read as far as it is harmless before anything is made of it.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not UTF-8 or not YAML, is nested too deeply, has an alias or half of a character in it, or no mapping.
    """
    import yaml  # type: ignore[import-untyped]  # transformers depends on it

    text, depth = decoded(path.read_bytes(), where), 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise ValueError(f"{where}: nested too deeply; write lines such as `limit: 64`")
            if isinstance(event, yaml.ScalarEvent):
                check_text(event.value, f"{where}, line {event.start_mark.line + 1}")
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"{where}: an alias (*NAME) in it; write the value out")
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{where}: the file is not a mapping of options; write lines such as `limit: 64`")
    return content
