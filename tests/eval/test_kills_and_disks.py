"""Kills and full disks: every command that keeps results goes on, and ends with what an uninterrupted one has.

A kill is SIGKILL right after a write reached the disk, or in the middle of a line. A full disk is the operating system's refusal to
write more into a file than so many bytes (RLIMIT_FSIZE), after a part of what was to be written. Counts are in docs/reliability.md.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from counterpoint.eval import AMATEUR
from counterpoint.eval.bench.records import read_generations
from counterpoint.rankers import SMALL

pytest.importorskip("resource")
from killed_commands import run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="signals, /proc and limits of Linux")]


ON_CPU = ["--model", str(AMATEUR), "--device", "cpu", "--quiet"]


def bench(folder: Path, data: Path) -> list[str]:
    """Two decoders and their metrics."""
    decoders = ["--decoders", "greedy", "nucleus", "--limit", "4", "--max-new-tokens", "8", "--batch-size", "2"]
    return [
        "bench",
        *ON_CPU,
        *decoders,
        "--metrics",
        "distinct",
        "coherence",
        "--scorer",
        str(AMATEUR),
        "--output-dir",
        str(folder),
    ]


def truthfulqa(folder: Path, data: Path) -> list[str]:
    """Some questions."""
    return ["truthfulqa", *ON_CPU, "--limit", "5", "--output-dir", str(folder)]


def factor(folder: Path, data: Path) -> list[str]:
    """Some completions."""
    rows = "".join(f"The ship {number},sank,rose,sang\n" for number in range(5))
    (data / "f.csv").write_text(f"turncated_prefixes,completion,contradiction_0,contradiction_1\n{rows}", encoding="utf-8")
    return ["factor", *ON_CPU, "--file", str(data / "f.csv"), "--output-dir", str(folder)]


def generate(folder: Path, data: Path) -> list[str]:
    """Some texts in a file."""
    (data / "p.txt").write_text("".join(f"The whale {number}\n" for number in range(5)), encoding="utf-8")
    folder.mkdir(exist_ok=True)
    command = ["generate", "--model", str(AMATEUR), "--device", "cpu", "--file", str(data / "p.txt"), "--batch-size", "2"]
    return [*command, "--max-new-tokens", "6", "--output", str(folder / "texts.jsonl")]


def induce(folder: Path, data: Path) -> list[str]:
    """An amateur's training."""
    pairs = [{"question": f"What is a {name}?", "answer": "A fish."} for name in ("cat", "ship", "king", "tree", "sea", "rose")]
    (data / "q.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    settings = ["--rank", "2", "--epochs", "3", "--batch-size", "2", "--output-dir", str(folder)]
    return ["induce", *ON_CPU, "--file", str(data / "q.jsonl"), *settings]


def train_ranker(folder: Path, data: Path) -> list[str]:
    """A ranker's training, with negatives."""
    text = " ".join(f"The captain saw ship {number} there. He said nothing to them." for number in range(12))
    (data / "t.txt").write_text(text, encoding="utf-8")
    sizes = "--prefix-words 20 --continuation-words 5 12 --limit 8 --batch-size 4 --checkpoint-steps 1".split()
    command = ["train-ranker", "--model", str(SMALL), "--file", str(data / "t.txt"), "--device", "cpu", "--quiet", *sizes]
    return [*command, "--generator", str(AMATEUR), "--output-dir", str(folder)]


def texts_of(folder: Path) -> Any:
    """What a folder of bench holds: its texts to the bit, its figures within rounding, since likelihoods are computed in groups."""
    rows = json.loads((folder / "results.json").read_text(encoding="utf-8"))["rows"]
    return [read_generations(folder), [[name, round(row["figures"][name]["value"], 4)] for row in rows for name in row["figures"]]]


def answers_of(folder: Path) -> Any:
    """The measures of questions, which rounding may move where a prefix was read anew."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    lines = (folder / results["question_results"]).read_text(encoding="utf-8").splitlines()
    assert len(lines) == results["questions"] == 5
    return results["metrics"]


def lines_of(folder: Path) -> Any:
    """The texts of a file."""
    lines = (folder / "texts.jsonl").read_text(encoding="utf-8").splitlines()
    return [(record["key"], record["text"]) for record in map(json.loads, lines)]


def weights_of(folder: Path) -> Any:
    """A training's weights."""
    (path,) = folder.glob("*.safetensors")
    return {name: weight.tolist() for name, weight in load_file(path).items()}


COMMANDS: dict[str, tuple[Callable[[Path, Path], list[str]], Callable[[Path], Any]]] = {
    "bench": (bench, texts_of),
    "truthfulqa": (truthfulqa, answers_of),
    "factor": (factor, answers_of),
    "generate": (generate, lines_of),
    "induce": (induce, weights_of),
    "train-ranker": (train_ranker, weights_of),
}
KILLS = [
    *(
        (name, kind, count)
        for name in ("bench", "truthfulqa", "factor", "generate")
        for kind in ("line", "half line")
        for count in (2, 4)
    ),
    *(("bench", kind, count) for kind in ("line", "half line") for count in (9, 17)),
    *(("induce", "checkpoint", count) for count in (1, 4, 8)),
    *(("train-ranker", kind, count) for kind in ("line", "half line") for count in (1, 2, 3)),
]
DISKS = [
    *(("bench", size) for size in (300, 1500, 3000, 6000, 10_000)),
    *(("truthfulqa", size) for size in (300, 900, 1500)),
    *(("factor", size) for size in (200, 700)),
    *(("generate", size) for size in (300, 900)),
    *(("induce", size) for size in (400, 3000)),
    *(("train-ranker", size) for size in (500, 3000)),
]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """What each command ends with, computed when it is first asked for."""
    known: dict[str, Any] = {}

    def find(name: str) -> Any:
        if name not in known:
            make, read = COMMANDS[name]
            folder = tmp_path_factory.mktemp("whole")
            assert run("none", 0, make(folder / "out", folder))[0] == 0
            found = read(folder / "out")
            known[name] = pytest.approx(found, abs=1e-5) if read is answers_of else found
        return known[name]

    return find


@pytest.mark.parametrize(("name", "kind", "count"), KILLS)
def test_a_kill(tmp_path: Path, uninterrupted: Callable[[str], Any], name: str, kind: str, count: int) -> None:
    make, read = COMMANDS[name]
    code, told = run(kind, count, make(tmp_path / "out", tmp_path))
    assert code == -signal.SIGKILL, told
    code, told = run("none", 0, make(tmp_path / "out", tmp_path))
    assert code == 0, told
    assert read(tmp_path / "out") == uninterrupted(name)
    assert not list(tmp_path.rglob("*.damaged"))  # what a kill cuts is no damage


@pytest.mark.parametrize(("name", "size"), DISKS)
def test_a_full_disk(tmp_path: Path, uninterrupted: Callable[[str], Any], name: str, size: int) -> None:
    make, read = COMMANDS[name]
    code, told = run("disk", size, make(tmp_path / "out", tmp_path))
    lines = [line for line in told.splitlines() if "error" in line]
    assert (code, len(lines)) == (1, 1), told
    assert "cannot be written: " in lines[0]
    assert "failed" not in lines[0]  # no decoder did
    code, told = run("none", 0, make(tmp_path / "out", tmp_path))
    assert code == 0, told
    assert read(tmp_path / "out") == uninterrupted(name)


@pytest.mark.parametrize("name", ["bench", "truthfulqa", "factor", "train-ranker"])
def test_a_directory_that_is_deleted_meanwhile(tmp_path: Path, name: str) -> None:
    """One line, and the same command begins anew."""
    make, _ = COMMANDS[name]
    code, told = run("deleted", 2, make(tmp_path / "out", tmp_path))
    assert code == 1, told
    assert "cannot be written: No such file or directory" in told
    assert run("none", 0, make(tmp_path / "out", tmp_path))[0] == 0
