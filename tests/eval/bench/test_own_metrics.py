"""Somebody's own metric in a benchmark: a number for each text, or one for all; named with its file's hash, refused in files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bench_cases import write_run
from counterpoint.eval.bench.metric_models import MetricModels
from counterpoint.eval.bench.own_metrics import own_metric
from counterpoint.eval.bench.results import check_names, score_directory
from counterpoint.eval.cli.bench.options import add_run_options, resolve
from counterpoint.eval.cli.errors import UsageError
from counterpoint.eval.cli.main import main
from counterpoint.eval.cli.parser import Parser

OWN = '''
def commas(texts, references, prompts):
    """Commas in a text."""
    return [text.count(",") for text in texts]


def total(texts, references, prompts):
    return sum(map(len, texts))


def wrong(texts, references, prompts):
    return [1.0]


def words(texts, references, prompts):
    return "many"


def endless(texts, references, prompts):
    return [1.0, float("-inf")]


def large(texts, references, prompts):
    return float("inf")


def fails(texts, references, prompts):
    return {}["length"]


NUMBER = 3
'''
TEXTS = {"greedy": {0: [" a, b, c", " d"]}, "nucleus:top_p=0.9": {0: [" a, b", " d, e"], 1: [" f", " g, h"]}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with metrics."""
    path = tmp_path / "mine.py"
    path.write_text(OWN, encoding="utf-8")
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two decoders."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_run(folder, TEXTS, [" r, s", " t"])
    return folder


def figures(results: Any, column: str) -> dict[str, float]:
    """A column's figures by decoder."""
    rows = {row["label"]: row["figures"] for row in results["rows"]} | {"human": results["human"]["figures"]}
    return {label: figures[column]["value"] for label, figures in rows.items()}


def test_figures(file: Path, run: Path) -> None:
    results = score_directory(run, [f"{file}:commas", f"{file}:total"], MetricModels(run, device="cpu"))
    assert figures(results, "commas") == {"greedy": 1.0, "nucleus:top_p=0.9": 0.75, "human": 0.5}
    assert figures(results, "total")["greedy"] == len(" a, b, c d")


def test_it_is_named_with_its_hash(file: Path) -> None:
    metric = own_metric(f"{file}:commas")
    assert metric.summary.startswith("Commas in a text. (sha256 ")
    assert list(metric.columns) == ["commas"]


def test_on_the_command_line(file: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "score", str(run), "--metrics", f"{file}:commas"]) == 0
    assert "commas" in capsys.readouterr().out
    assert main(["bench", "score", str(run), "--metrics", f"{file}:absent"]) != 0
    assert "has no absent; it has commas" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wrong", "gave 1 numbers for 2 texts"),
        ("words", "could not convert|neither a number"),
        ("endless", "endless gave -inf for text 1"),
        ("large", "large gave inf"),
        ("fails", "fails raised KeyError: 'length'"),
    ],
)
def test_what_is_no_figure_is_a_reason(name: str, message: str, file: Path, run: Path) -> None:
    results = score_directory(run, [f"{file}:{name}", f"{file}:commas"], MetricModels(run, device="cpu"))
    assert figures(results, "commas")["greedy"] == 1.0, "others are not lost by it"
    reasons = [row["figures"][name].get("reason", "") for row in results["rows"]]
    assert all(re.search(message, reason) for reason in reasons)


def test_names_are_checked_first(file: Path) -> None:
    with pytest.raises(ValueError, match="has no absent"):
        check_names([f"{file}:absent"])
    with pytest.raises(ValueError, match="is not a function"):
        check_names([f"{file}:NUMBER"])
    with pytest.raises(ValueError, match="no metric 'comas'"):
        check_names(["comas"])


@pytest.mark.parametrize("option", ["decoders: [greedy, '{file}:Any']", "metrics: ['{file}:commas']"])
def test_a_file_of_options_runs_nobodys_code(option: str, file: Path, tmp_path: Path) -> None:
    file.write_text("raise SystemExit('it ran')", encoding="utf-8")
    config = tmp_path / "bench.yaml"
    config.write_text(option.format(file=file), encoding="utf-8")
    parser = Parser()
    add_run_options(parser)
    with pytest.raises(UsageError, match="runs only where a command line"):
        resolve(parser.parse_args(["--config", str(config)]))
