"""Results that are damaged, or are no results, are one line that names their folder or file, in every command that reads some."""

from __future__ import annotations

from pathlib import Path

import pytest

from counterpoint.eval.cli.main import main
from counterpoint.eval.inputs import json_file

WRONG = {
    "cut": '{"rows": [',
    "deep": "[" * 100_000,
    "a list": "[1, 2]",
    "a number": "5",
    "empty": "",
    "without names": "{}",
    "bytes": "\udcff",
}
COMMANDS = {
    "bench compare": (["bench", "compare", "{}", "{}/../other"], "results.json"),
    "bench plot": (["bench", "plot", "{}"], "results.json"),
    "bench score": (["bench", "score", "{}"], "config.json"),
    "truthfulqa compare": (["truthfulqa", "compare", "{}"], "results-0.json"),
    "factor compare": (["factor", "compare", "{}"], "results-0.json"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", [*WRONG, "a folder"])
def test_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, kind: str) -> None:
    words, name = COMMANDS[command]
    for folder in ("own", "other"):
        (tmp_path / folder).mkdir()
        if kind == "a folder":
            (tmp_path / folder / name).mkdir()
        else:
            (tmp_path / folder / name).write_bytes(WRONG[kind].encode(errors="surrogateescape"))
    assert main([word.format(tmp_path / "own") for word in words]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert str(tmp_path / "own") in told
    assert "--debug shows where" not in told


def test_what_a_file_has_to_have(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text('{"rows": []}', encoding="utf-8")
    assert json_file(path, "rows") == {"rows": []}
    with pytest.raises(ValueError, match="it has no 'columns'"):
        json_file(path, "rows", "columns")
