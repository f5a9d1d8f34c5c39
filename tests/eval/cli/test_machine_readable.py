"""``--json`` in every command: one JSON document, or one a line, and nothing else on standard output; and results in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench_cases import sentences, write_run
from counterpoint.eval import AMATEUR
from counterpoint.eval.cli.main import main

ON_CPU = ["--model", str(AMATEUR), "--device", "cpu"]
FACTOR = (
    "full_prefix,completion,contradiction_0,contradiction_1,turncated_prefixes\n"
    "The ship sailed. The captain of the ship,was old,was a cheese,was the moon,The captain of the ship\n"
)
CANDIDATES = {"prefix": "The white whale", "candidates": [" sat\ndown.", " of the white sea."]}


def output_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Standard output of a command that succeeds."""
    assert main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    """The JSON document that is all that a command prints."""
    output = output_of(capsys, *arguments, "--json")
    assert output.count("\n") == 1
    return json.loads(output)


def test_questions(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "news.csv").write_text(FACTOR, encoding="utf-8")
    for command in (["truthfulqa", "--limit", "1"], ["factor", "--file", tmp_path / "news.csv"]):
        folder = tmp_path / str(command[0])
        found = document(capsys, *command, *ON_CPU, "--output-dir", folder)
        assert found == json.loads((folder / "results.json").read_text(encoding="utf-8"))
        assert found["questions"] == 1
        assert output_of(capsys, *command, *ON_CPU, "--output-dir", folder).endswith(f"{folder / 'results.json'}\n")
        assert main([*map(str, command), *ON_CPU, "--output-dir", str(folder), "--quiet"]) == 0
        assert capsys.readouterr() == ("", "")


def test_bench(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = document(capsys, "bench", "ls")
    assert found["decoders"]["contrastive_search"]["parameters"] == {"penalty_alpha": 0.6, "top_k": 5}
    assert "mauve" in found["metrics"]
    assert "counterpoint" in found["mauve_protocols"]
    for name in ("one", "two"):
        write_run(tmp_path / name, {"greedy": {0: sentences(3, 1)}, "beam": {0: sentences(3, 2)}}, sentences(3, 9))
    results = {name: document(capsys, "bench", "score", tmp_path / name, "--metrics", "diversity") for name in ("one", "two")}
    compared = document(capsys, "bench", "compare", tmp_path / "one", tmp_path / "two")
    assert compared["runs"] == results
    assert {each["difference"] for each in compared["differences"]} == {0.0}  # equal texts of equal prompts


def test_pictures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra plots")
    write_run(tmp_path, {"greedy": {0: sentences(3, 1)}, "beam": {0: sentences(3, 2)}}, sentences(3, 9))
    assert main(["bench", "score", str(tmp_path), "--metrics", "diversity", "coherence", "--scorer", str(AMATEUR), "--quiet"]) == 0
    capsys.readouterr()
    (path,) = document(capsys, "bench", "plot", tmp_path, "--output-dir", tmp_path / "new")["files"]
    assert output_of(capsys, "bench", "plot", tmp_path, "--output-dir", tmp_path / "new") == f"{path}\n"
    assert Path(path).is_file()


def test_export(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert document(capsys, "export", tmp_path / "new") == {"directory": str(tmp_path / "new")}


def test_rerank_for_people(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "candidates.jsonl"
    file.write_text(json.dumps(CANDIDATES) + "\n", encoding="utf-8")
    found = document(capsys, "rerank", "--ranker", "overlap", "--file", file)
    first, second, third = output_of(capsys, "rerank", "--ranker", "overlap", "--file", file).splitlines()
    assert first == "The white whale"
    for line, score, text in zip((second, third), found["scores"], ("of the white sea.", "sat down."), strict=True):
        assert (float(line.split()[0]), line.split(maxsplit=1)[1]) == (pytest.approx(score, abs=1e-4), text)
    assert output_of(capsys, "rerank", "--ranker", "overlap", "--file", file, "--top", "1").splitlines() == [first, second]


@pytest.mark.parametrize("more", [[], ["--json"], ["--compare", "greedy", "beam"]])
def test_output_files_have_what_would_be_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path, more: list[str]) -> None:
    command = ["generate", "The whale", *ON_CPU, "--max-new-tokens", "6", *more]
    printed = output_of(capsys, *command)
    (tmp_path / "text").write_text("what was there before", encoding="utf-8")
    assert output_of(capsys, *command, "--output", tmp_path / "text") == ""
    written = (tmp_path / "text").read_text(encoding="utf-8")
    if more == ["--json"]:
        assert json.loads(written)["text"] == json.loads(printed)["text"]
    else:
        assert [line for line in written.splitlines() if " tokens/s" not in line] == [
            line for line in printed.splitlines() if " tokens/s" not in line
        ]


def test_a_failure_leaves_the_file_as_it_was(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "text").write_text("what was there before", encoding="utf-8")
    assert main(["generate", "x", *ON_CPU, "--max-new-tokens", "600", "--output", str(tmp_path / "text")]) == 1
    assert (tmp_path / "text").read_text(encoding="utf-8") == "what was there before"
    candidates = ["rerank", "--ranker", "overlap", "--file", str(tmp_path / "absent"), "--output", str(tmp_path / "text")]
    assert main(candidates) == 1
    assert (tmp_path / "text").read_text(encoding="utf-8") == "what was there before"
