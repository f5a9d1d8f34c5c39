"""The Markdown table and the comparison of runs: what is marked, what is bold, what is left out and said below."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench_cases import named, sentences, write_lines, write_run, write_speed
from counterpoint.eval import AMATEUR
from counterpoint.eval.bench.compare import comparison, names_of
from counterpoint.eval.bench.metric_models import MetricModels
from counterpoint.eval.bench.records import read_results
from counterpoint.eval.bench.results import score_directory
from counterpoint.eval.cli.main import main
from counterpoint.eval.report.formats import as_csv, as_json, as_latex
from counterpoint.eval.report.html_table import html_table
from counterpoint.eval.report.notes import chats_of, warnings_of
from counterpoint.eval.report.table import markdown

LOOP = [" so it goes and it goes and it goes and it goes"] * 30
HUMAN = sentences(30, 9)


def score(folder: Path, names: list[str], **settings: Any) -> dict[str, Any]:
    """By the smaller embedded model."""
    return score_directory(folder, names, MetricModels(folder, scorer=str(AMATEUR), device="cpu", dtype="float32", **settings))


@pytest.fixture
def results(tmp_path: Path) -> dict[str, Any]:
    """Of greedy search that loops and of two samplers that write like people."""
    samples = {"sample:top_k=0": {0: sentences(30, 1), 1: sentences(30, 2)}, "sample:top_k=9": {0: sentences(30, 3)}}
    write_run(tmp_path, {"greedy": {0: LOOP}, **samples}, HUMAN)
    write_speed(tmp_path, {"greedy": 10.0, "sample:top_k=0": 8.0})
    write_lines(tmp_path / "failures.jsonl", [{**named("sled"), "key": "f", "error": "no `early`\nlayers <b>|"}])
    return score(tmp_path, ["diversity", "zipf", "length", "speed", "embedding_coherence"])


def test_the_table(results: dict[str, Any]) -> None:
    text = markdown(results)
    head, rule, greedy, first, second, human = text.splitlines()[:6]
    assert [each.strip() for each in head.split("|")[1:-1]] == ["decoder", "diversity", "words", "speed ↑"]
    assert rule.replace("-", "").replace(":", "").replace(" ", "") == "|||||"
    assert greedy.startswith("| `greedy` ")
    assert "`sample:top_k=0`" in first  # by what tells the two apart
    assert "†" not in greedy  # the first is not compared with itself
    assert "0.80x" in first
    assert "n/a" in second  # not timed
    assert human.startswith("| *human* ")
    assert len({len(line) for line in (head, rule, greedy, first, second, human)}) == 1
    assert "12 of them" not in text
    assert "rep-2" not in markdown(results, details=False)
    assert "- 30 prompts, 2 seeds where a decoder samples." in text
    assert "- cosine to prompt: no sentence encoder was given (--embedder)" in text
    assert "- tokens/s, speed, memory: not timed" in text  # one of the three
    assert "- `sled` failed: `no 'early' layers <b>|`" in text


def test_marks_are_of_tests(results: dict[str, Any]) -> None:
    figures = results["rows"][1]["figures"]
    assert figures["diversity"]["p_adjusted"] < 0.05
    row = next(line for line in markdown(results).splitlines() if "`sample:top_k=0`" in line)
    value, words = (each.strip() for each in row.split("|")[2:4])
    assert value.endswith("†")
    assert words.endswith("†")
    figures["diversity"]["p_adjusted"] = 0.06
    row = next(line for line in markdown(results).splitlines() if "`sample:top_k=0`" in line)
    assert "†" not in row.split("|")[2]


def test_bold_is_what_no_test_tells_from_the_best(results: dict[str, Any]) -> None:
    lines = {row["name"]: line.split("|") for row, line in zip(results["rows"], markdown(results).splitlines()[2:], strict=False)}
    bold = {name: cells[2].strip().startswith("**") for name, cells in lines.items()}
    assert bold == {"greedy": False, "sample:top_k=0": True, "sample:top_k=9": True}
    assert not any("**" in cells[4] for cells in lines.values())  # speed, which no test is of
    best, other = (code for code in ("`sample:top_k=0`", "`sample:top_k=9`"))
    human = results["human"]["figures"]["diversity"]["value"]
    if abs(results["rows"][2]["figures"]["diversity"]["value"] - human) < abs(
        results["rows"][1]["figures"]["diversity"]["value"] - human
    ):
        best, other = other, best
    sentence = f"- diversity: {best} is nearest to human text; no test tells {other} from it, and tests tell the other 1 from it."
    assert sentence in markdown(results).splitlines()


def test_figures_that_do_not_compare_have_columns_of_their_own(tmp_path: Path, results: dict[str, Any]) -> None:
    other = score(write_run(tmp_path / "other", {"greedy": {0: LOOP}}, max_new_tokens=64), ["diversity", "speed", "coherence"])
    third = {**other, "columns": {**other["columns"]}}
    third["columns"]["coherence"] = {**other["columns"]["coherence"], "settings": {"scorer": "another | model"}}
    text = comparison({"one": results, "two": other, "three": third})
    lines = text.splitlines()
    head = [each.strip() for each in lines[0].replace("\\|", "/").split("|")[1:-1]]
    assert head[:5] == ["run", "decoder", "diversity", "words", "speed ↑"]
    assert head[5:] == [f"coherence (scorer {AMATEUR})", "coherence (scorer another / model)"]
    assert [line.split("|")[1].strip() for line in lines[2:8]] == ["`one`"] * 4 + ["`two`", "`three`"]
    two, three = ([each.strip() for each in line.split("|")[1:-1]] for line in lines[6:8])
    assert (two[-1], three[-2]) == ("", "")  # nothing in the other's column
    assert two[-2] == three[-1] != ""
    assert "- max_new_tokens differs: `one` `32`, `two` `64`, `three` `64`." in text
    assert "dtype differs" not in text


def mauve_results(featurizer: str, texts: int) -> dict[str, Any]:
    """A run with MAUVE."""
    figure = {"value": 0.5, "standard_error": None, "details": [{"n": texts}]}
    column = {"title": "MAUVE", "better": "higher", "digits": 3, "unit": "", "detail": False}
    return {
        "config": {"model": "m", "run": {}},
        "columns": {"mauve": {**column, "settings": {"mauve_protocol": "counterpoint", "featurizer": featurizer}}},
        "rows": [{"name": "greedy", "label": "greedy", "figures": {"mauve": figure}}],
        "human": None,
    }


@pytest.mark.parametrize(("other", "columns"), [(("gpt2", 100), 1), (("gpt2-large", 100), 2), (("gpt2", 200), 2)])
def test_mauve_of_another_kind_is_another_column(other: tuple[str, int], columns: int) -> None:
    head = comparison({"one": mauve_results("gpt2", 100), "two": mauve_results(*other)}).splitlines()[0]
    assert head.count("MAUVE") == columns


def test_what_mauve_is_worth_is_said() -> None:
    results = mauve_results("gpt2", 100)
    detail = {"warning": "MAUVE of 100 texts means little", "comparable": False, "n": 100}
    results["rows"][0]["figures"]["mauve"]["details"] = [detail, {**detail, "warning": "MAUVE of 99 texts", "n": 99}]
    assert warnings_of(results) == [
        "‡: MAUVE of 100 texts means little",
        "MAUVE compares with no published figures: they are by other protocols or featurisers",
        "MAUVE is of 99 to 100 texts, so that decoders do not quite compare",
    ]
    results["rows"][0]["figures"]["mauve"]["details"] = [{"warning": None, "comparable": True, "n": 5000}]
    assert warnings_of(results) == []


def test_names_of_runs() -> None:
    assert names_of(["/a/one", "/a/two"]) == ["one", "two"]
    assert names_of(["/x/run", "/y/run"]) == ["x/run", "y/run"]


def test_score_and_compare_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        write_run(tmp_path / name, {"greedy": {0: sentences(4, seed)}, "beam": {0: sentences(4, seed + 2)}})
        assert main(["bench", "score", str(tmp_path / name), "--metrics", "diversity", "length"]) == 0
        output = capsys.readouterr().out
        assert "| `beam` " in output
        assert (tmp_path / name / "table.md").read_text(encoding="utf-8").startswith("| decoder ")
        assert (tmp_path / name / "report.html").stat().st_size > 5000
    assert main(["bench", "score", str(tmp_path / "one"), "--metrics", "length", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["bench", "score", str(tmp_path / "one"), "--metrics", "length", "--json"]) == 0
    assert '"standard_error"' in capsys.readouterr().out
    assert main(["bench", "compare", str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    assert "| `two` | `beam`" in capsys.readouterr().out
    assert main(["bench", "compare", str(tmp_path / "one"), str(tmp_path / "one")]) == 2
    assert main(["bench", "score", str(tmp_path / "one"), "--metrics", "nope"]) == 2
    assert main(["bench", "compare", str(tmp_path), str(tmp_path / "one")]) == 1
    assert "no results yet; `counterpoint bench score" in capsys.readouterr().err


def test_a_run_is_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--model", str(AMATEUR), "--device", "cpu", "--limit", "3", "--max-new-tokens", "6", "--scorer", str(AMATEUR)]
    command = ["bench", *small, "--decoders", "greedy", "nucleus", "--output-dir", str(tmp_path / "run"), "--json", "--metrics"]
    assert main([*command, "divers"]) == 2
    assert "no metric 'divers' (did you mean diversity?)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()  # before anything was generated
    assert main([*command, "diversity", "coherence", "speed"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results == read_results(tmp_path / "run")
    assert [row["name"] for row in results["rows"]] == ["greedy", "nucleus"]
    for row in [*results["rows"], results["human"]]:
        assert row["figures"]["coherence"]["value"] < 0
    assert results["rows"][0]["figures"]["relative_speed"]["value"] == 1
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Decoders of amateur" in page
    assert str(tmp_path) not in page


def test_chats_and_thinking_are_said() -> None:
    run = {"chat_template": {"source": "the tokenizer of m", "sha256": "ab" * 32}, "system": "Be brief.", "thinking": "cut"}
    found = " ".join(chats_of(run))
    assert "`the tokenizer of m` (SHA-256 abababababab), with the system's message `Be brief.`" in found
    assert "Thinking was cut before anything was measured" in found
    assert chats_of({}) == []


def test_a_figure_that_means_little_is_never_bold_nor_concluded_from(results: dict[str, Any]) -> None:
    for row in results["rows"]:
        figure = row["figures"]["diversity"]
        figure["details"] = [{"warning": "diversity of 30 texts means little", "n": 30, "comparable": True}]
    text = markdown(results)
    lines = [line.split("|")[2].strip() for line in text.splitlines()[2:5]]
    assert all(line.rstrip("†‡").replace(" ", "") and line.endswith("‡") and "**" not in line for line in lines)
    assert "nearest to human text; no test" not in text.partition("- words:")[0]
    assert "- diversity: `" not in text
    assert "- ‡: diversity of 30 texts means little." in text
    assert r"\textcolor{gray}" in as_latex(results)
    assert {row["means_little"] for row in csv.DictReader(as_csv(results).splitlines()) if row["metric"] == "diversity"} == {
        "True",
        "False",  # that of human texts
    }
    page = html_table(results)
    assert page.count('class="little"') == 3
    assert not re.search(r'class="little"[^>]*><strong>', page)


def test_formats_are_of_the_same_figures(results: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*csv.DictReader(as_csv(results).splitlines())]
    for row in [*results["rows"], results["human"]]:
        for name in ("diversity", "zipf", "length"):
            (found,) = [each for each in rows if (each["label"], each["metric"]) == (row["label"], name)]
            figure = row["figures"][name]
            assert float(found["value"]) == figure["value"]
            assert [float(found[end]) for end in ("low", "high") if found[end]] == list(figure.get("interval") or ())
    assert json.loads(as_json(results))[0]["decoder"] == "greedy"
    latex = as_latex(results)
    assert latex.count(r" \\") == 2 + len(results["rows"]) + 1
    assert r"sample:top\_k=0" in latex
    assert not re.search(r"(?<!\\)[%_#](?! \\usepackage)", latex.replace("% \\usepackage", ""))
    folder = write_run(tmp_path / "run", {"greedy": {0: sentences(3, 1)}})
    assert main(["bench", "score", str(folder), "--metrics", "length", "--formats", "csv,latex", "--quiet"]) == 0
    assert {"table.csv", "table.tex"} <= {path.name for path in folder.iterdir()}
    assert not (folder / "table.md").exists()
    assert main(["bench", "score", str(folder), "--formats", "csv,html"]) == 2
    assert "'html', which is none of csv, latex, markdown" in capsys.readouterr().err
    stale = (folder / "table.csv").read_text(encoding="utf-8")
    assert main(["bench", "score", str(folder), "--metrics", "length", "distinct", "--quiet"]) == 0
    assert (folder / "table.csv").read_text(encoding="utf-8") != stale, "figures of an earlier score are not left beside new ones"
    (folder / "divergence.png").write_bytes(b"of an earlier score")
    assert main(["bench", "score", str(folder), "--metrics", "length", "--quiet"]) == 0
    assert not (folder / "divergence.png").exists()
