"""Where prompts come from."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from counterpoint.eval.cli.errors import CommandError, UsageError
from counterpoint.eval.cli.prompts import read_prompts


class Terminal(io.StringIO):
    """Standard input that nobody types into."""

    def isatty(self) -> bool:
        """It is one."""
        return True

    def read(self, size: int | None = -1, /) -> str:
        """Would wait forever."""
        raise AssertionError("read from the terminal without being asked to")


def test_the_argument_is_taken_as_it_is() -> None:
    assert read_prompts("{not JSON}\n and more ", None) == ["{not JSON}\n and more "]


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is piped in."""
    monkeypatch.setattr("sys.stdin", Terminal())


@pytest.mark.parametrize(("prompt", "file"), [(None, None), ("-", None), (None, "-")])
def test_standard_input(monkeypatch: pytest.MonkeyPatch, prompt: str | None, file: str | None) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("one \n\ntwo\n"))
    assert read_prompts(prompt, file) == ["one ", "two"]


def test_files(tmp_path: Path) -> None:
    plain, jsonl = tmp_path / "plain.txt", tmp_path / "prompts.jsonl"
    plain.write_bytes("\ufeffcafé\u2028noir\r\n{two}\r\n".encode())  # a byte order mark, a Unicode line separator, CRLF
    jsonl.write_text('{"prompt": "one\\nmore", "id": 1}\n\n{"prompt": "two"}\n', encoding="utf-8")
    assert read_prompts(None, str(plain)) == ["café\u2028noir", "{two}"]
    assert read_prompts(None, str(jsonl)) == ["one\nmore", "two"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no prompts in it"),
        (" \n\n", "no prompts in it"),
        ('{"prompt": "one"}\ntwo\n', r"line 2: not a JSON object \(Expecting value"),
        ('{"text": "one"}\n', "line 1: not a JSON object with a text"),
        ('{"prompt": 3}\n', "line 1: not a JSON object with a text"),
        ('{"prompt": " "}\n', "line 1 is empty"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "prompts"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        read_prompts(None, str(file))
    assert str(file) in str(error.value)


def test_no_prompt_at_all_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="no prompt: give one as an argument"):
        read_prompts(None, None)


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    for name in ("latin", "absent", "."):
        with pytest.raises(CommandError, match="--file"):
            read_prompts(None, str(tmp_path / name))
