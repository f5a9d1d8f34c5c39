"""The README's Python runs as it stands, block after block in one session, and its commands name what there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from counterpoint.eval.cli import build_parser

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The contents of the README's fenced blocks of a language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    return [content for name, content in fenced if name == language]


COMMANDS = [
    line.partition("&& ")[2] if line.startswith("pip install") else line
    for block in blocks("")
    for line in block.splitlines()
    if line.startswith("counterpoint ") or "&& counterpoint " in line
]


def test_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert blocks("python")
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - our own text
    assert capsys.readouterr().out.startswith("The whale")


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command: str) -> None:
    words = shlex.split(command)
    assert words[0] == "counterpoint"
    if "--help" not in words:
        arguments, others = build_parser().parse_known_args(words[1:])
        assert not others or arguments.others is not None  # a command that passes them on
