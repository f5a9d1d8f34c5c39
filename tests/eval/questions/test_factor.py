"""``counterpoint factor``: its accuracy, its files, and its scores."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from counterpoint.decoders import score
from counterpoint.eval import AMATEUR
from counterpoint.eval.cli.main import main
from counterpoint.eval.loading import load
from counterpoint.eval.questions.choice_task import Scored
from counterpoint.eval.questions.factor import Completion, factor_accuracy, read_completions
from counterpoint.eval.questions.factor_task import FactorTask

HEADER = "full_prefix,completion,contradiction_0,contradiction_1,turncated_prefixes"
ROW = "The ship sailed. The captain of the ship,was old,was a cheese,was the moon,The captain of the ship"


@pytest.mark.parametrize(
    ("true", "false", "expected"),
    [
        (-1.0, [-2.0, -3.0], 1.0),
        (-2.0, [-2.0, -3.0], 1.0),  # a tie counts as right, as published
        (-2.0, [-3.0, -1.9], 0.0),
        (-math.inf, [-math.inf], 0.0),  # that of banned completions does not
        (-math.inf, [-1.0], 0.0),
        (-1.0, [-math.inf], 1.0),
    ],
)
def test_accuracy(true: float, false: list[float], expected: float) -> None:
    assert factor_accuracy(true, false) == expected


def test_sum_and_mean_can_differ() -> None:
    task = object.__new__(FactorTask)  # its model is not asked
    long, short = Scored(-3.0, 3), Scored(-2.0, 1)
    expected = {"accuracy": 0.0, "accuracy_per_token": 1.0}
    assert task.measures(Completion(2, "It", "long", ("short",)), {"long": long, "short": short}) == expected
    expected = {"accuracy": 1.0, "accuracy_per_token": 0.0}
    assert task.measures(Completion(2, "It", "short", ("long",)), {"long": long, "short": short}) == expected


def test_the_context_may_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "news.csv").write_text(f"{HEADER}\n{ROW}\n", encoding="utf-8")
    assert read_completions(tmp_path / "news.csv").column == "full_prefix"
    assert read_completions(tmp_path / "news.csv", "turncated_prefixes").completions[0].context == "The captain of the ship"
    (tmp_path / "news.csv").write_text(f"{HEADER.replace('turncated', 'x')}\n{ROW}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="row 1: no column 'turncated_prefixes'"):
        read_completions(tmp_path / "news.csv", "turncated_prefixes")


def test_nan_is_an_error() -> None:
    with pytest.raises(ValueError, match="NaN among the scores"):
        factor_accuracy(math.nan, [0.0])


@pytest.mark.parametrize(("name", "context"), [("news_factor.csv", 0), ("wiki_factor.csv", 4)])
def test_scores_are_those_of_the_contexts_column(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, context: int
) -> None:
    (tmp_path / name).write_text(f"\ufeff{HEADER}\n{ROW}\n", encoding="utf-8")
    arguments = ["--file", str(tmp_path / name), "--model", str(AMATEUR), "--device", "cpu", "--output-dir", str(tmp_path / "out")]
    assert main(["factor", *arguments]) == 0
    capsys.readouterr()
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    record = json.loads((tmp_path / "out" / results["question_results"]).read_text())
    cells, loaded = ROW.split(","), load(str(AMATEUR), "cpu", "auto", trust_remote_code=False)
    ((*expected,),) = score(loaded.model, loaded.tokenizer, [cells[context]], [[f" {cells[index]}" for index in (1, 2, 3)]])
    assert list(record["scores"].values()) == pytest.approx([each.total for each in expected], abs=1e-3)
    means = [each.total / len(each.tokens) for each in expected]
    assert results["metrics"] == {
        "accuracy": float(expected[0].total >= max(each.total for each in expected[1:])),
        "accuracy_per_token": float(means[0] >= max(means[1:])),
    }
    assert results["data"]["context"] == HEADER.split(",")[context]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "row 1: no column 'turncated_prefixes' among none"),
        (f"{HEADER.replace('completion', 'ending')}\n", "row 1: no column 'completion'"),
        (f"{HEADER.replace('contradiction', 'lie')}\n", "row 1: no column 'contradiction_0'"),
        (f"{HEADER}\n", "no completions below the header"),
        (f"{HEADER}\n{ROW}\na,b,c\n", "row 3: 3 columns, the header has 5"),
        (f"{HEADER}\n{ROW.replace('was a cheese', ' ')}\n", "row 2, column 'contradiction_0': empty"),
        (f"{HEADER}\n{ROW.replace('cheese', chr(0xDCE9))}\n", "row 2, column 'contradiction_0': not UTF-8"),
    ],
)
def test_malformed_files(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "wiki.csv"
    path.write_bytes(content.encode("utf-8", errors="surrogateescape"))
    with pytest.raises(ValueError, match=message) as caught:
        read_completions(path)
    assert str(path) in str(caught.value)
