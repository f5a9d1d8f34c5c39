"""Shards of a benchmark: each writes its share into the same folder, and all of them are what one run writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from counterpoint.eval import AMATEUR
from counterpoint.eval.bench.records import read_generations
from counterpoint.eval.cli.main import main

WORDS = ["bench", "--model", str(AMATEUR), "--device", "cpu", "--limit", "5", "--max-new-tokens", "4", "--batch-size", "2"]
WORDS += ["--quiet", "--metrics", "diversity", "--decoders", "greedy", "nucleus"]


def texts(folder: Path) -> dict[str, str]:
    return {each["key"]: each["text"] for each in read_generations(folder)}


def test_shards_are_the_whole(tmp_path: Path) -> None:
    assert main([*WORDS, "--output-dir", str(tmp_path / "whole")]) == 0
    folder = tmp_path / "shards"
    counts = []
    for index in (2, 0, 1):
        assert main([*WORDS, "--output-dir", str(folder), "--shard", f"{index}/3"]) == 0
        counts.append(len(texts(folder)))
        assert not (folder / "results.json").exists()
    assert counts == sorted({*counts})
    assert texts(folder) == texts(tmp_path / "whole")
    assert {path.name for path in folder.glob("generations*")} == {f"generations-{index}of3.jsonl" for index in range(3)}
    assert main(["bench", "score", str(folder), "--quiet"]) == 0
    assert (folder / "results.json").exists()


def test_a_shard_has_one_writer_and_the_whole_none_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--output-dir", str(tmp_path), "--shard", "0/2"]) == 0
    with FileLock(tmp_path / ".lock-shard-0of2", timeout=0):
        assert main([*WORDS, "--output-dir", str(tmp_path), "--shard", "0/2"]) == 1
        assert "another command is writing it" in capsys.readouterr().err
        assert main(["bench", "score", str(tmp_path), "--quiet"]) == 1
        assert "another command is writing it" in capsys.readouterr().err
        assert main([*WORDS, "--output-dir", str(tmp_path), "--shard", "1/2"]) == 0
    assert main(["bench", "score", str(tmp_path), "--quiet"]) == 0


@pytest.mark.parametrize("share", ["2/2", "1", "-1/2", "a/b", "0/0"])
def test_what_is_no_share_is_refused(share: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, f"--shard={share}"]) == 2
    assert "is no share I/N" in capsys.readouterr().err
