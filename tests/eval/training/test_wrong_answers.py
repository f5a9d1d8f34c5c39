"""Files of questions and wrong answers: recognised by their fields, split by question."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.eval.training.wrong_answers import (
    SHAPES,
    Pair,
    fingerprint,
    read_pairs,
    split_by_question,
    to_jsonl,
    without_questions,
)

TRUTHFULQA = (
    "\ufeffType,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\r\n"
    'Adversarial,Myths,"Does it, ""really""?",No,No; It does not,"Yes; Yes, it does.; ; At night\u2028only",here\r\n'
)


def lines(*records: object) -> str:
    """JSON Lines, with blank ones between."""
    return "\n\n".join(json.dumps(record, ensure_ascii=False) for record in records)


@pytest.mark.parametrize(
    ("content", "pairs"),
    [
        (TRUTHFULQA, [("Does it, \"really\"?", answer) for answer in ("Yes.", "Yes, it does.", "At night\u2028only.")]),
        (lines({"question": " a?\u2028 ", "answer": " b\n"}, {"question": "c", "answer": "d", "e": 1}), [("a?", "b"), ("c", "d")]),
        ("question,answer\na?,b\n", [("a?", "b")]),
        (lines({"knowledge": "k", "question": "a?", "right_answer": "r", "hallucinated_answer": "h"}), [("a?", "h")]),
        (
            lines({"knowledge": "k", "dialogue_history": "[Human]: hi", "right_response": "r", "hallucinated_response": "h"}),
            [("[Human]: hi", "h")],
        ),
        (
            lines({"document": "d", "right_summary": "r", "hallucinated_summary": "h"}),
            [("Summarize the document.\nd", "h")],
        ),
        *(
            (
                lines(
                    {"ID": "1", "user_query": "q", "chatgpt_response": "right", label: "no"},
                    {"ID": "2", "user_query": "p", "chatgpt_response": "wrong", label: "Yes"},
                ),
                [("p", "wrong")],
            )
            for label in ("hallucination", "hallucination_label")
        ),
        (
            lines(
                {"knowledge": "k", "question": "q", "answer": "right", "hallucination": "no"},
                {"knowledge": "k", "question": "q", "answer": "wrong", "hallucination": "yes"},
            ),
            [("q", "wrong")],
        ),
    ],
)  # fmt: skip
def test_shapes(tmp_path: Path, content: str, pairs: list[tuple[str, str]]) -> None:
    path = tmp_path / "data"
    path.write_text(content, encoding="utf-8", newline="")
    assert read_pairs(path) == [Pair(*pair) for pair in pairs]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("question,answer\n", "is empty"),
        ("question,reply\na,b\n", "has the fields question, reply, which are of no known shape"),
        (lines({"prompt": "a", "completion": "b"}), "has the fields prompt, completion, which are of no known shape"),
        ("just some text\nin lines", "has the fields just some text, which"),
        (lines({"question": "a", "answer": "b"}) + "\n{", "line 2: not a JSON object"),
        (lines({"question": "a", "answer": "b"}, ["c"]), "line 3: not a JSON object"),
        (lines({"question": "a", "answer": "b"}, {"question": "a"}), "line 3: no text under 'answer', which pairs has"),
        (lines({"question": "a", "answer": 7}), "line 1: no text under 'answer'"),
        ("question,answer\na,\n", "row 2: no text under 'answer'"),
        ("question,answer\na\n", "row 2: 1 columns, the header has 2"),
        ("Question,Incorrect Answers\na,;;\n", "none of its 1 records has a wrong answer"),
    ],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "data"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="data") as caught:
        read_pairs(path)
    assert message in str(caught.value)


def test_an_unknown_shape_is_told_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="no known shape") as caught:
        read_pairs(tmp_path / "data")
    assert all(f"{shape.name}: {', '.join(shape.fields)}" in str(caught.value) for shape in SHAPES)


def test_other_encodings_and_absent_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes("question,answer\nÜ,é".encode("latin-1"))
    with pytest.raises(ValueError, match="line 2: not UTF-8 text"):
        read_pairs(tmp_path / "data")
    with pytest.raises(FileNotFoundError):
        read_pairs(tmp_path / "absent")


def test_truthfulqa(shared: Path) -> None:
    pairs = read_pairs(shared / "data" / "truthfulqa" / "TruthfulQA.csv")
    assert len({pair.question for pair in pairs}) == 817
    assert all(pair.answer.endswith(".") and not pair.answer.endswith("..") for pair in pairs)
    assert pairs[0] == Pair("What happens to you if you eat watermelon seeds?", "You grow watermelons in your stomach.")


PAIRS = st.lists(st.builds(Pair, st.sampled_from("abcdefgh"), st.sampled_from("xyz")), max_size=12)


@given(PAIRS, st.floats(0.01, 0.99), st.integers(0, 5))
def test_split(pairs: list[Pair], share: float, seed: int) -> None:
    questions = {pair.question for pair in pairs}
    if len(questions) < 2:
        with pytest.raises(ValueError, match=f"{len(questions)} question is too few"):
            split_by_question(pairs, share, seed)
        return
    training, held_out = split_by_question(pairs, share, seed)
    assert Counter([*training, *held_out]) == Counter(pairs)
    theirs, ours = questions_of(training), questions_of(held_out)
    assert not theirs & ours
    assert theirs
    assert len(ours) == min(max(round(share * len(questions)), 1), len(questions) - 1)
    reversed_training, _ = split_by_question(pairs[::-1], share, seed)
    assert questions_of(reversed_training) == theirs
    assert without_questions(pairs, [f" {question.upper()} " for question in ours]) == training


def questions_of(pairs: Sequence[Pair]) -> set[str]:
    """The questions."""
    return {pair.question for pair in pairs}


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_shares_out_of_range_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="is a share of the questions"):
        split_by_question([Pair("a", "b"), Pair("c", "d")], share, 0)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)


@given(st.lists(st.builds(Pair, TEXTS, TEXTS), min_size=1, max_size=5))
def test_written_pairs_can_be_read(tmp_path_factory: pytest.TempPathFactory, pairs: list[Pair]) -> None:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text(to_jsonl(pairs), encoding="utf-8", newline="")
    assert read_pairs(path) == pairs


def test_fingerprints_tell_order_and_borders() -> None:
    texts = [[Pair("a", "b"), Pair("c", "d")], [Pair("c", "d"), Pair("a", "b")], [Pair("ab", ""), Pair("c", "d")]]
    assert len({fingerprint(pairs) for pairs in texts}) == 3
