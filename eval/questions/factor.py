"""FACTOR: contexts with one true completion and false ones that differ from it in a fact.

Muhlgay et al., *Generating Benchmarks for Factuality Evaluation of Language Models* (2024, arXiv 2307.06908).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from counterpoint.eval.questions.truthfulqa import rows_of_file

CONTEXTS = ("full_prefix", "turncated_prefixes")
"""Columns that hold the context; the second is spelled so in the benchmark."""

FALSE = "contradiction_"


@dataclass(frozen=True)
class Completion:
    """A context, its true completion and the false ones."""

    row: int
    context: str
    true: str
    false: tuple[str, ...]


@dataclass(frozen=True)
class Completions:
    """The rows of a file, which column their contexts are from, and the file's hash."""

    completions: tuple[Completion, ...]
    column: str
    sha256: str


def factor_accuracy(true: float, false: Sequence[float]) -> float:
    """Whether no false completion beats the true one: 1 if s(true) >= max_f s(f), else 0.

    A tie counts as right, as published; that of completions that the decoder bans altogether (-inf) does not.

    Example:
        >>> from counterpoint.eval.questions.factor import factor_accuracy
        >>> factor_accuracy(-3.0, [-3.0, -5.0, -4.0]), factor_accuracy(-3.0, [-2.0, -5.0, -4.0])
        (1.0, 0.0)
    """
    if any(score != score for score in (true, *false)):
        raise ValueError("NaN among the scores: look at the model's weights and dtype")
    return float(true >= max(false) and true > -float("inf"))


def read_completions(path: Path, context: str | None = None) -> Completions:
    """The rows of one of the benchmark's CSV files (news, wiki, expert).

    Args:
        path: The file.
        context: The column of the contexts. By default "full_prefix" where "news" is in the file's name, else "turncated_prefixes",
            as in DoLa's released code; whichever there is, if there is one. The benchmark's own code takes "turncated_prefixes".

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no such file; the message names file, row (the header is row 1) and column.
    """
    content, rows = rows_of_file(path)
    header = rows[0] if rows else []
    false = [column for column in header if column.startswith(FALSE)]
    wanted_contexts = [context] if context else sorted(CONTEXTS, reverse="news" not in path.name)
    contexts = [column for column in wanted_contexts if column in header]
    for columns, wanted in (
        (contexts, context or CONTEXTS[1]),
        ([c for c in header if c == "completion"], "completion"),
        (false, f"{FALSE}0"),
    ):
        if not columns:
            raise ValueError(f"{path}, row 1: no column {wanted!r} among {', '.join(map(repr, header)) or 'none'}")
    completions = []
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) != len(header):
            raise ValueError(f"{path}, row {number}: {len(row)} columns, the header has {len(header)}")
        cells = dict(zip(header, row, strict=True))
        for column in (contexts[0], "completion", *false):
            if not cells[column].strip():
                raise ValueError(f"{path}, row {number}, column {column!r}: empty")
        completions.append(completion_of(number, cells, contexts[0], false))
    if not completions:
        raise ValueError(f"{path}: no completions below the header")
    return Completions(tuple(completions), contexts[0], hashlib.sha256(content).hexdigest())


def completion_of(row: int, cells: Mapping[str, str], context: str, false: Sequence[str]) -> Completion:
    """A row of the file."""
    return Completion(row, cells[context], cells["completion"].strip(), tuple(cells[column].strip() for column in false))
