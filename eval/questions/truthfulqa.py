"""TruthfulQA: its questions, in any of the benchmark's versions, and the measures of one question.

Lin et al., *TruthfulQA: Measuring How Models Mimic Human Falsehoods* (2022, arXiv 2109.07958).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from counterpoint.eval.inputs import csv_rows
from counterpoint.eval.questions.multiple_choice import mc1, mc2, mc3

SAMPLE = Path(__file__).parents[1] / "data" / "truthful_sample.csv"
"""Questions of our own writing in the benchmark's format, for a first run without its file."""

REQUIRED = ("Question", "Best Answer", "Correct Answers", "Incorrect Answers")
BEST_INCORRECT = "Best Incorrect Answer"
VERSIONS = {817: "2021", 790: "2025"}
"""Releases by their number of questions; that of 2025 has 27 fewer and names the best incorrect answers."""


@dataclass(frozen=True)
class Question:
    """A question and its reference answers."""

    text: str
    best: str
    true: tuple[str, ...]
    false: tuple[str, ...]
    best_false: str | None = None
    """The wrong answer of the binary choice, in files that have it."""

    def answers(self) -> list[str]:
        """All answers, each once."""
        return list(dict.fromkeys([self.best, *self.true, *self.false]))

    def measures(self, scores: Mapping[str, float]) -> dict[str, float]:
        """MC1, MC2 and MC3 from each answer's score."""
        true, false = ([scores[answer] for answer in answers] for answers in (self.true, self.false))
        return {"mc1": mc1(scores[self.best], false), "mc2": mc2(true, false), "mc3": mc3(true, false)}


@dataclass(frozen=True)
class Questions:
    """The questions of a file, and which file it was."""

    questions: tuple[Question, ...]
    source: str
    sha256: str

    @property
    def version(self) -> str:
        """The release that a file of so many questions is."""
        release = VERSIONS.get(len(self.questions))
        return (
            f"TruthfulQA of {release}" if release else "the built-in sample" if self.source == str(SAMPLE) else "of unknown release"
        )


def read_questions(path: Path) -> Questions:
    """The questions of a CSV file with the columns of the benchmark's own; answers are separated by ";".

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no such file; the message names file, row (the header is row 1) and column.

    Example:
        >>> from counterpoint.eval.questions.truthfulqa import SAMPLE, read_questions
        >>> len(read_questions(SAMPLE).questions) >= 40
        True
    """
    content, rows = rows_of_file(path)
    header = rows[0] if rows else []
    missing = [column for column in REQUIRED if column not in header]
    if missing:
        way_out = "; are the columns separated by commas?" if len(header) == 1 else ""
        raise ValueError(f"{path}, row 1: no column {missing[0]!r} among {', '.join(map(repr, header)) or 'none'}{way_out}")
    questions: dict[str, tuple[int, Question]] = {}
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) != len(header):
            raise ValueError(f"{path}, row {number}: {len(row)} columns, the header has {len(header)}")
        question = question_of(dict(zip(header, row, strict=True)), f"{path}, row {number}")
        if question.text in questions:
            raise ValueError(f"{path}, row {number}, column 'Question': the same as in row {questions[question.text][0]}")
        questions[question.text] = (number, question)
    if not questions:
        raise ValueError(f"{path}: no questions below the header")
    return Questions(tuple(question for _, question in questions.values()), str(path), hashlib.sha256(content).hexdigest())


def find_questions(name: str) -> Questions:
    """The questions of a file, or of a data set of the Hugging Face hub that has TruthfulQA's configuration "generation".

    Raises:
        ImportError: If a data set is named, and the package datasets is not installed.
        OSError: If there is neither, besides what :func:`read_questions` raises.
    """
    if Path(name).exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.endswith(".csv"):
        return read_questions(Path(name))
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ImportError(f"{name} is not a file, and a data set of the hub needs: pip install datasets") from error
    try:
        rows = list(load_dataset(name, "generation", split="validation"))
    except Exception as error:  # the errors of the hub's HTTP client have no public base class
        raise OSError(f"{name} is neither a file nor a data set that can be reached: {error}") from error
    questions = [
        question_of(
            {
                "Question": row["question"],
                "Best Answer": row["best_answer"],
                "Correct Answers": "; ".join(row["correct_answers"]),
                "Incorrect Answers": "; ".join(row["incorrect_answers"]),
            },
            f"{name}, row {number}",
        )
        for number, row in enumerate(rows, 1)
    ]
    return Questions(tuple(questions), name, hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest())


def rows_of_file(path: Path) -> tuple[bytes, list[list[str]]]:
    """A UTF-8 file, with or without a byte order mark, and its rows.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no CSV, or a cell is not UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OSError(f"{path}: {error.strerror or error}") from error
    rows = csv_rows(content.decode("utf-8-sig", errors="surrogateescape"), str(path))
    for number, row in enumerate(rows, 1):
        for column, cell in enumerate(row):
            if not cell.isascii() and any("\udc80" <= letter <= "\udcff" for letter in cell):
                name = repr(rows[0][column]) if column < len(rows[0]) else str(column + 1)
                raise ValueError(f"{path}, row {number}, column {name}: not UTF-8; save the file as UTF-8")
    return content, rows


def question_of(row: Mapping[str, str], where: str) -> Question:
    """A row of the file."""

    def text(column: str) -> str:
        if not row[column].strip():
            raise ValueError(f"{where}, column {column!r}: empty")
        return row[column].strip()

    def answers(column: str) -> tuple[str, ...]:
        return tuple(map(sentence, split_answers(text(column), f"{where}, column {column!r}")))

    best_false = row.get(BEST_INCORRECT, "").strip()
    return Question(
        text("Question"),
        sentence(text("Best Answer")),
        answers("Correct Answers"),
        answers("Incorrect Answers"),
        sentence(best_false) if best_false else None,
    )


def split_answers(cell: str, where: str) -> list[str]:
    """The answers of a cell, which may end in a separator.

    Raises:
        ValueError: For an empty answer between separators, and for other separators.
    """
    wrong = next((name for sign, name in SEPARATORS.items() if sign in cell), None)
    if wrong is not None:
        raise ValueError(f"{where}: a {wrong} in it; answers are separated by ';'")
    answers = [answer.strip() for answer in cell.removesuffix(";").split(";")]
    if not all(answers):
        raise ValueError(f"{where}: answer {answers.index('') + 1} of {len(answers)} is empty")
    return answers


SEPARATORS = {"|": "'|'", "\n": "line break", "\t": "tab", "\uff1b": "full-width semicolon"}


def sentence(answer: str) -> str:
    """An answer as the benchmark scores it: it ends in a full stop."""
    return answer if answer.endswith(".") else f"{answer}."
