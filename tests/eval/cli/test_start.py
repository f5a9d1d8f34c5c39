"""What needs no model waits for no torch: every command's help, every refusal, and commands that show what there is."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from bench_cases import write_run
from counterpoint.eval.bench.metric_models import MetricModels
from counterpoint.eval.bench.results import score_directory
from counterpoint.eval.cli.main import build_parser
from processes import run

HEAVY = ("torch", "transformers", "accelerate", "scipy", "sklearn", "peft", "huggingface_hub")

PROGRAM = f"""
import sys
from counterpoint.eval.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print("\\nCODE", code, *sorted(set({HEAVY}) & set(sys.modules)))
"""


def started(*words: str) -> tuple[int, list[str]]:
    """The exit code of a command in a process of its own, and what of the heavy packages it imported."""
    _, code, *heavy = run("-c", PROGRAM, *words).splitlines()[-1].split()
    return int(code), heavy


NAMES = [
    name
    for action in build_parser()._actions
    if isinstance(action, argparse._SubParsersAction)
    for name in action.choices
    if name != "lm-eval"  # whose help is the harness's own
]
"""The commands."""


@pytest.mark.parametrize(
    "words", [[], *([name] for name in NAMES), *(["bench", name] for name in ("run", "score", "compare", "plot", "ls"))]
)
def test_help_is_there_at_once(words: list[str]) -> None:
    assert started(*words, "--help") == (0, [])


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "x", "--decoder", "nobody"],
        ["bench", "--decoders", "nobody"],
        ["score", "--file", "nobody.jsonl"],
        ["truthfulqa", "--decoder", "nobody"],
    ],
)
def test_wrong_words_are_refused_at_once(words: list[str]) -> None:
    code, heavy = started(*words)
    assert code in (1, 2)
    assert heavy == []


@pytest.mark.parametrize("words", [["bench", "ls"], ["bench", "ls", "--json"], ["--version"]])
def test_what_there_is_is_listed_at_once(words: list[str]) -> None:
    assert started(*words) == (0, [])


def test_an_export_is_written_at_once(tmp_path: Path) -> None:
    assert started("export", str(tmp_path / "folder")) == (0, [])
    assert (tmp_path / "folder" / "README.md").exists()


def test_results_are_shown_at_once(tmp_path: Path) -> None:
    """Pictures of results that are there already."""
    folder = write_run(tmp_path, {"greedy": {0: [" it was so and so it was"] * 3}, "nucleus:top_p=0.9": {0: [" a b c d e"] * 3}})
    score_directory(folder, ["diversity"], MetricModels(folder))
    assert started("bench", "plot", str(folder))[1] == []  # with nothing to draw, which matplotlib need not say


def test_figures_of_words_need_no_transformers(tmp_path: Path) -> None:
    """Scoring and comparing draw prompts anew, for which there is torch alone."""
    for name in ("one", "two"):
        write_run(tmp_path / name, {"greedy": {0: [" it was so and so it was"] * 3}})
        assert started("bench", "score", str(tmp_path / name), "--metrics", "diversity", "length") == (0, ["torch"])
    assert started("bench", "compare", str(tmp_path / "one"), str(tmp_path / "two")) == (0, ["torch"])
