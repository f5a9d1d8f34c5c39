"""``counterpoint kernels``, its file, and the kernels that a benchmark records and uses again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from counterpoint.decoders.kernels import choosing
from counterpoint.decoders.kernels.policy import VARIABLE, named_policy, policy
from counterpoint.eval import EXPERT
from counterpoint.eval.bench import work as bench_work
from counterpoint.eval.bench.records import read_config, read_generations
from counterpoint.eval.cli.main import main


def transposed_is_faster(weights: Sequence[Tensor], rows: int, names: Sequence[str]) -> dict[str, float]:
    """Stands for ``measure``."""
    return {name: 1e-5 if name == "transposed" else 2e-5 for name in names}


def test_shows_and_saves(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "measure", transposed_is_faster)
    path = tmp_path / "kernels.json"
    assert main(["kernels", "--output", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "256x688 float32 5 rows" in shown
    assert "transposed" in shown.splitlines()[-1]
    fixed = named_policy(str(path)).fixed
    assert fixed is not None
    assert fixed["256x688 float32 5 rows"] == "transposed"
    assert main(["kernels", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kernels"] == fixed
    assert found["microseconds"]["256x688 float32 5 rows"]["transposed"] == pytest.approx(10)


@pytest.mark.parametrize("words", [["kernels"], ["generate", "It was"], ["bench"]])
def test_a_wrong_variable_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "fastest")
    assert main(words) == 2
    assert f"{VARIABLE}=fastest: pass plain" in capsys.readouterr().err


def bench(folder: Path, *words: str) -> list[dict[str, Any]]:
    """The texts of a small run."""
    small = [
        "--model",
        str(EXPERT),
        "--device",
        "cpu",
        "--limit",
        "1",
        "--max-new-tokens",
        "4",
        "--quiet",
        "--metrics",
        "diversity",
    ]
    assert main(["bench", *small, "--output-dir", str(folder), "--decoders", "contrastive_search:top_k=5", *words]) == 0
    return read_generations(folder)


def test_a_benchmark_keeps_its_kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those that its first run measured hold for all that follow, whatever would be measured or pinned then."""
    used = []

    def generate_all(run: Any) -> None:
        used.append(policy().fixed)
        own(run)

    own = bench_work.generate_all
    monkeypatch.setattr(bench_work, "generate_all", generate_all)
    monkeypatch.setattr(choosing, "measure", transposed_is_faster)
    monkeypatch.setenv(VARIABLE, "measured")
    first = bench(tmp_path)
    recorded = read_config(tmp_path)["kernels"]
    assert recorded["256x688 float32 5 rows"] == "transposed"
    monkeypatch.setenv(VARIABLE, "plain")
    assert bench(tmp_path, "--limit", "2")[:1] == first
    assert read_config(tmp_path)["kernels"] == recorded
    assert used == [recorded, recorded]
    assert bench(tmp_path / "plain")
    assert read_config(tmp_path / "plain")["kernels"] == {}
