"""Texts that were made elsewhere, in the table, the report and the tests beside those that were written here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from counterpoint.eval import AMATEUR
from counterpoint.eval.bench.elsewhere import Maker
from counterpoint.eval.bench.records import read_config, read_generations, read_results
from counterpoint.eval.cli.main import main
from counterpoint.eval.report.table import markdown

PROMPTS = ("The whale rose from the sea and", "In the morning the old man", "She opened the door, and", "It was late when")
MADE = ["--model", "org/model", "--made-by", "vLLM 0.32.0, bfloat16"]
METRICS = ["--metrics", "diversity", "speed", "--quiet"]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    rows = [
        {"prompt": prompt, "reference": f" {prompt.lower()} nobody knew of it, for it was {'very ' * 9}dark."} for prompt in PROMPTS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def here(tmp_path: Path, prompts: Path) -> Path:
    """A benchmark of this process."""
    words = ["--model", str(AMATEUR), "--device", "cpu", "--file", str(prompts), "--decoders", "greedy", "nucleus"]
    assert main(["bench", *words, "--max-new-tokens", "6", *METRICS, "--output-dir", str(tmp_path / "run")]) == 0
    return tmp_path / "run"


def outputs(folder: Path, name: str = "outputs.jsonl", texts: int = 1) -> Path:
    """Rows in another order than the prompts, as Ray Data writes them."""
    rows = [{"prompt": prompt, "generated_text": f" and then {n} {prompt[:5]}."} for n in range(texts) for prompt in PROMPTS[::-1]]
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / name


def add(folder: Path, file: Path, *words: str, label: str = "elsewhere:top_p=0.9") -> int:
    return main(["bench", "add", str(folder), "--file", str(file), "--label", label, *MADE, *words])


def rows_of(folder: Path) -> dict[str, Any]:
    return {row["label"]: row for row in read_results(folder)["rows"]}


def test_the_references_name_is_not_a_makers() -> None:
    with pytest.raises(ValueError, match="label='human' is what tables call the references"):
        Maker.of("human", "model", "made by hand")


def test_they_stand_beside_those_of_this_process(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_generations(here)
    assert add(here, outputs(tmp_path, texts=2)) == 0
    assert f"8 texts of elsewhere:top_p=0.9 are in {here}" in capsys.readouterr().out
    found = read_generations(here)
    assert found[: len(before)] == before
    own = found[len(before) :]
    assert [(each["index"], each["seed"], each["text"]) for each in own] == [
        (index, sample, f" and then {sample} {prompt[:5]}.") for sample in range(2) for index, prompt in enumerate(PROMPTS)
    ]
    assert {(each["prompt"], each["reference"]) for each in own} == {(each["prompt"], each["reference"]) for each in before}
    assert main(["bench", "score", str(here), *METRICS]) == 0
    rows, results = rows_of(here), read_results(here)
    row = rows["elsewhere:top_p=0.9"]
    assert (row["name"], row["parameters"], row["texts"], row["planned"]) == ("elsewhere", {"top_p": 0.9}, 8, 8)
    assert (row["mean_tokens"], row["finished"]) == (None, None)
    assert "p_adjusted" in row["figures"]["diversity"]  # tested against the first decoder, prompt by prompt
    assert row["figures"]["tokens_per_second"]["reason"] == "not measured here"
    assert rows["nucleus:top_p=0.95,top_k=0,temperature=1.0"]["figures"]["tokens_per_second"]["value"] > 0
    assert "`elsewhere` was written elsewhere: `org/model`, `vLLM 0.32.0, bfloat16`." in markdown(results)
    assert "vLLM 0.32.0, bfloat16" in (here / "report.html").read_text(encoding="utf-8")


def test_the_same_label_is_read_anew_and_others_stay(here: Path, tmp_path: Path) -> None:
    before = read_generations(here)
    assert add(here, outputs(tmp_path, texts=3)) == add(here, outputs(tmp_path, "other.jsonl"), label="other") == 0
    assert add(here, outputs(tmp_path)) == 0
    labels = [each["label"] for each in read_generations(here)[len(before) :]]
    assert labels == ["other"] * 4 + ["elsewhere:top_p=0.9"] * 4
    words = ["--model", str(AMATEUR), "--device", "cpu", "--file", str(tmp_path / "prompts.jsonl"), "--decoders", "top_k"]
    assert main(["bench", *words, "--max-new-tokens", "6", *METRICS, "--output-dir", str(here)]) == 0  # and runs go on in it
    assert {"other", "elsewhere:top_p=0.9"} <= rows_of(here).keys()


def test_a_new_folder_has_its_prompts_from_a_file(prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new"
    own = ["--prompts", str(prompts), "--tokenizer", str(AMATEUR), "--max-new-tokens", "6"]
    assert add(folder, outputs(tmp_path), *own, "--quiet") == 0
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(AMATEUR)
    assert {len(tokenizer(each["reference"])["input_ids"]) for each in read_generations(folder)} == {6}
    capsys.readouterr()
    assert add(folder, outputs(tmp_path), "--json", label="again") == 0
    assert json.loads(capsys.readouterr().out) == {"label": "again", "texts": 4, "prompts": 4}
    assert main(["bench", "score", str(folder), *METRICS]) == 0
    assert rows_of(folder).keys() == {"elsewhere:top_p=0.9", "again"}
    assert add(tmp_path / "bare", outputs(tmp_path), "--prompts", str(prompts)) == 0
    assert {each["reference"] for each in read_generations(tmp_path / "bare")} == {None}


def test_texts_that_are_missing_make_a_row_partial(here: Path, tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    file.write_text('{"index": 2, "text": " a ship came in and all of them saw it"}\n', encoding="utf-8")
    assert add(here, file) == main(["bench", "score", str(here), *METRICS]) == 0
    row = rows_of(here)["elsewhere:top_p=0.9"]
    assert (row["texts"], row["planned"]) == (1, 4)


def test_what_is_wrong_leaves_the_folder_as_it_is(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, file = read_config(here), outputs(tmp_path)
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"prompt": "Who?", "text": "a"}\n', encoding="utf-8")
    new = tmp_path / "new"
    cases: list[tuple[int, str]] = [
        (add(here, wrong), f"--file {wrong}, line 1: its prompt is none of the benchmark's 4"),
        (add(here, tmp_path / "none.jsonl"), "none.jsonl: No such file"),
        (add(here, file, label="greedy"), "--label greedy: "),
        (add(here, file, label="two words"), "--label 'two words' is no NAME"),
        (add(here, file, label="a:b"), "is not key=value"),
        (add(here, file, "--prompts", str(tmp_path / "prompts.jsonl")), "--prompts: "),
        (add(here, file, "--max-new-tokens", "9"), "--max-new-tokens: "),
        (add(new, file), "a new one needs --prompts FILE"),
        (add(new, wrong, "--prompts", str(tmp_path / "prompts.jsonl")), "its prompt is none of the benchmark's 4"),
        (add(new, file, "--prompts", str(tmp_path / "none.jsonl")), "--prompts "),
    ]
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == len(cases)
    for line, (code, message) in zip(told, cases, strict=True):
        assert code in (1, 2)
        assert message in line
    assert read_config(here) == before
    assert not new.exists()
    with FileLock(here / ".lock", timeout=0):
        assert add(here, file) == 1
    assert read_config(here) == before
    assert add(here, file) == 0  # which it does once nothing is wrong
    assert read_config(here) != before
