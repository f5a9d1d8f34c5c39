"""Questions and wrong answers to them: what a hallucinating amateur is trained on."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.eval.inputs import JSON_LINES, csv_records, decoded, json_object

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Pair:
    """A question, or whatever comes before, and a wrong answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Shape:
    """A kind of file: the fields by which it is recognised, and the pairs that a record gives."""

    name: str
    fields: tuple[str, ...]
    pairs: Callable[[Record], list[Pair]]


def one_pair(question: str, answer: str) -> Callable[[Record], list[Pair]]:
    """The pair of two fields."""
    return lambda record: [Pair(record[question].strip(), record[answer].strip())]


def where_hallucinated(question: str, answer: str, label: str) -> Callable[[Record], list[Pair]]:
    """The pair of two fields, of records that are labelled as hallucinated."""
    return lambda record: one_pair(question, answer)(record) if record[label].strip().lower() == "yes" else []


def summary_pair(record: Record) -> list[Pair]:
    """The document with an instruction, and its wrong summary."""
    return [Pair(f"Summarize the document.\n{record['document'].strip()}", record["hallucinated_summary"].strip())]


def truthfulqa_pairs(record: Record) -> list[Pair]:
    """A pair for each of the incorrect answers, which end in a full stop as in the benchmark's multiple choice."""
    answers = [answer.strip() for answer in record["Incorrect Answers"].split(";")]
    return [Pair(record["Question"].strip(), answer.removesuffix(".") + ".") for answer in answers if answer]


# The first whose fields a file has; HaluEval's labelled samples have two names for the label.
SHAPES = (
    Shape("TruthfulQA", ("Question", "Incorrect Answers"), truthfulqa_pairs),
    Shape("HaluEval QA", ("question", "hallucinated_answer"), one_pair("question", "hallucinated_answer")),
    Shape(
        "HaluEval dialogue", ("dialogue_history", "hallucinated_response"), one_pair("dialogue_history", "hallucinated_response")
    ),
    Shape("HaluEval summarization", ("document", "hallucinated_summary"), summary_pair),
    *(
        Shape(name, (*fields, label), where_hallucinated(*fields, label))
        for name, fields in (
            ("HaluEval general", ("user_query", "chatgpt_response")),
            ("HaluEval QA samples", ("question", "answer")),
        )
        for label in ("hallucination", "hallucination_label")
    ),
    Shape("pairs", ("question", "answer"), one_pair("question", "answer")),
)


def read_pairs(path: str | Path) -> list[Pair]:
    r"""The questions and wrong answers of a file, recognised by its fields.

    JSON Lines and CSV with a header, in UTF-8 with or without a byte order mark:

    - ``question``, ``answer``: the answer is the wrong one;
    - TruthfulQA (Lin et al. 2021, arXiv 2109.07958): ``Question``, ``Incorrect Answers``, which semicolons separate, each a pair;
    - HaluEval (Li et al. 2023, arXiv 2305.11747), question answering (``question``, ``hallucinated_answer``), dialogue
      (``dialogue_history``, ``hallucinated_response``), summarization (``document``, ``hallucinated_summary``) and general queries
      (``user_query``, ``chatgpt_response``, ``hallucination``: those labelled "yes"). Its ``knowledge`` is left out: without it
      the answers are what a model would have to make up.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is of no known shape, naming the fields it has; if a record lacks a field or has an empty one, naming the
            line; if there are no pairs in it.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from counterpoint.eval.training.wrong_answers import read_pairs
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "questions.csv")
        ...     _ = path.write_text("Question,Incorrect Answers\nIs the earth flat?,Yes; It is a disc\n")
        ...     read_pairs(path)
        [Pair(question='Is the earth flat?', answer='Yes.'), Pair(question='Is the earth flat?', answer='It is a disc.')]
    """
    content, extension = decoded(Path(path).read_bytes(), str(path)), Path(path).suffix.lower()
    is_json = extension in JSON_LINES or (extension != ".csv" and content.lstrip().startswith("{"))
    records = [] if not content.strip() else json_records(content, path) if is_json else csv_records(content, str(path))
    if not records:
        raise ValueError(f'{path} is empty: write JSON Lines or CSV, e.g. {{"question": ..., "answer": ...}} a line')
    shape = shape_of(records[0][1], path)
    pairs = []
    for where, record in records:
        empty = [name for name in shape.fields if not isinstance(record.get(name), str) or not str(record[name]).strip()]
        if empty:
            raise ValueError(f"{where}: no text under {empty[0]!r}, which {shape.name} has (fields: {listed(record)})")
        pairs += shape.pairs(record)
    if not pairs:
        raise ValueError(f"{path}: none of its {len(records)} records has a wrong answer")
    return pairs


def shape_of(record: Record, path: str | Path) -> Shape:
    """The shape that a file's first record has."""
    for shape in SHAPES:
        if set(shape.fields) <= record.keys():
            return shape
    known = "; ".join(f"{shape.name}: {', '.join(shape.fields)}" for shape in SHAPES)
    raise ValueError(f"{path} has the fields {listed(record)}, which are of no known shape ({known})")


def listed(record: Record) -> str:
    """The names of a record's fields."""
    return ", ".join(map(str, record)) or "none"


def json_records(content: str, path: str | Path) -> list[tuple[str, Record]]:
    """The objects of JSON Lines, with where they are."""
    lines = enumerate(content.split("\n"), 1)  # not splitlines(): JSON may hold other line separators
    return [(where := f"{path}, line {line}", json_object(text, where)) for line, text in lines if text.strip()]


def without_questions(pairs: Iterable[Pair], excluded: Iterable[str]) -> list[Pair]:
    """The pairs whose questions are not among those, whatever their case and spaces."""
    known = {normalized(question) for question in excluded}
    return [pair for pair in pairs if normalized(pair.question) not in known]


def normalized(question: str) -> str:
    """A question by which the same one is recognised."""
    return " ".join(question.casefold().split())


def split_by_question(pairs: Sequence[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on, and those of a share of the questions to hold out, at least one question each.

    Which questions are held out depends on the questions and the seed, not on their order or number of answers.

    Raises:
        ValueError: For a share that is not in (0, 1), and for fewer than two questions.
    """
    if not 0 < share < 1:
        raise ValueError(f"held_out={share!r} is a share of the questions: more than 0 and less than 1")
    questions = sorted({normalized(pair.question) for pair in pairs})
    if len(questions) < 2:
        raise ValueError(f"{len(questions)} question is too few: one to train on and one to hold out are needed")
    random.Random(seed).shuffle(questions)  # noqa: S311 - no secret
    count = min(max(round(share * len(questions)), 1), len(questions) - 1)
    held_out = set(questions[:count])
    return (
        [pair for pair in pairs if normalized(pair.question) not in held_out],
        [pair for pair in pairs if normalized(pair.question) in held_out],
    )


def fingerprint(pairs: Iterable[Pair]) -> str:
    """A hash of pairs in their order."""
    return hashlib.sha256(json.dumps([[pair.question, pair.answer] for pair in pairs]).encode()).hexdigest()


def to_jsonl(pairs: Iterable[Pair]) -> str:
    """Pairs as JSON Lines that :func:`read_pairs` reads."""
    return "".join(json.dumps({"question": pair.question, "answer": pair.answer}, ensure_ascii=False) + "\n" for pair in pairs)
