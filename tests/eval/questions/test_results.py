"""Results of questions side by side: paired tests by hand, partial results by name, and what Ctrl-C and long work say."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from counterpoint.eval import AMATEUR, progress
from counterpoint.eval.cli.main import main
from counterpoint.eval.progress import Interrupted, progress_bar
from counterpoint.eval.questions import choice_task
from counterpoint.eval.questions.results import compare, markdown, read_results

COMMAND = ["truthfulqa", "--model", str(AMATEUR), "--device", "cpu", "--quiet", "--output-dir"]


def results(label: str, values: list[float], **more: Any) -> dict[str, Any]:
    """A decoder's results of questions by these values of mc1."""
    by_question = {f"question {number}": {"mc1": value} for number, value in enumerate(values)}
    found = {"label": label, "metrics": {"mc1": fmean(values)}, "questions": len(values), "by_question": by_question, "task": "mc"}
    return {**found, "model": "m", "data": {"sha256": "0" * 64}, **more}


def test_a_comparison_is_paired() -> None:
    """The p-value against all exchanges of the two decoders' answers, counted one by one."""
    first, second = [0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]
    found = compare(results("a", first), results("b", second), "mc1")
    differences = [b - a for a, b in zip(first, second, strict=True)]
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in itertools.product((1, -1), repeat=8)]
    exact = fmean(each >= abs(sum(differences)) for each in sums)
    assert found["difference"] == pytest.approx(fmean(differences))
    assert found["p"] == pytest.approx(exact, abs=0.02)
    low, high = found["interval"]
    assert 0 <= low < found["difference"] < high <= 1
    assert compare(results("a", first), results("b", first), "mc1")["p"] == 1.0
    fewer = compare(results("a", first), results("b", second[:5]), "mc1")
    assert (fewer["questions"], fewer["difference"]) == (5, pytest.approx(fmean(differences[:5])))


def test_the_table_names_what_is_partial_or_differs() -> None:
    part = results("b", [1.0] * 3, partial={"questions": 3, "of": 40}, data={"sha256": "1" * 64})
    table = markdown([results("a", [0.0] * 40), part])
    assert "| `b` | 3 of 40 | 1.0000" in table
    assert "`b` is partial: 3 of 40." in table
    assert "sha256 of the data differs: `a` 000000000000, `b` 111111111111." in table


def test_rows_of_one_decoder_are_told_apart() -> None:
    small = results("a", [0.0] * 4, model="small")
    table = markdown([results("a", [1.0] * 4, preset="own"), small, results("b", [1.0] * 4, preset="own")])
    assert "| `a, model m, preset own` |" in table
    assert "| `a, model small, preset None` |" in table
    assert "| `b` |" in table
    assert "model differs: `a, model m, preset own` m, `a, model small, preset None` small, `b` m." in table


def test_a_folder_keeps_each_file_and_tests_no_question_against_another(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    header = "full_prefix,turncated_prefixes,completion,contradiction_0\n"
    for name, word in (("one", "ship"), ("two", "whale")):
        (tmp_path / f"{name}.csv").write_text(f"{header}The {word} was,{word} was,here,cheese\n", encoding="utf-8")
    folder = tmp_path / "factor"
    command = ["factor", "--model", str(AMATEUR), "--device", "cpu", "--quiet", "--output-dir", str(folder), "--file"]
    for words in (["one.csv"], ["two.csv"], ["two.csv", "--context", "full_prefix"]):
        assert main([*command, str(tmp_path / words[0]), *words[1:]]) == 0
    found = read_results([folder])
    assert len(found) == 3
    assert len({name for each in found for name in each["by_question"]}) == 3, "row 1 of each is another question"
    assert all(compare(found[0], other, "accuracy") == {"questions": 0} for other in found[1:])
    capsys.readouterr()


def test_a_folder_keeps_each_decoder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words in (["--limit", "4"], ["--limit", "3", "--decoder", "dola"]):
        assert main([*COMMAND, str(tmp_path), *words]) == 0
    capsys.readouterr()
    assert main(["truthfulqa", "compare", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == (tmp_path / "table.md").read_text(encoding="utf-8").strip()
    assert "`greedy` is partial: 4 of" in printed
    assert main(["truthfulqa", "compare", str(tmp_path), "--json"]) == 0
    one, other = json.loads(capsys.readouterr().out)
    assert (one["decoder"], other["decoder"]) == ("greedy", "dola")
    by_question = [each["by_question"] for each in read_results([tmp_path])]
    common = [name for name in by_question[0] if name in by_question[1]]
    (mc2,) = [test for test in other["comparisons"] if test["measure"] == "mc2"]
    assert (mc2["against"], mc2["questions"]) == ("greedy", 3)
    assert mc2["difference"] == pytest.approx(fmean(by_question[1][name]["mc2"] - by_question[0][name]["mc2"] for name in common))
    assert main(["factor", "compare", str(tmp_path / "none")]) == 1
    assert "no results in it" in capsys.readouterr().err


def test_ctrl_c_says_what_is_kept(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = choice_task.Journal.add, []

    def add(journal: Any, key: str, record: Any) -> None:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(key)
        real(journal, key, record)

    with monkeypatch.context() as patch:
        patch.setattr(choice_task.Journal, "add", add)
        assert main([*COMMAND, str(tmp_path), "--limit", "4"]) == 130
    assert capsys.readouterr().err == "counterpoint: interrupted: 2 of 4 questions are kept; the same command continues\n"
    assert main([*COMMAND, str(tmp_path), "--limit", "4"]) == 0
    assert len(read_results([tmp_path])[0]["by_question"]) == 4


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def interrupted() -> None:
        with progress_bar("text", total=20, done=2) as bar:
            bar.describe("greedy")
            for _ in range(7):
                now[0] += 10.0
                bar.update()
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="9 of 20 texts are kept"):
        interrupted()
    assert capsys.readouterr().err.splitlines() == [
        "counterpoint: greedy: text 5 of 20, 2:30 left",
        "counterpoint: greedy: text 8 of 20, 2:00 left",
    ]
    with progress_bar("text", total=20, quiet=True) as bar:
        now[0] += 1000.0
        bar.update()
    assert capsys.readouterr().err == ""
