"""Every command of README and docs works as typed in a clone: the files it names ship, or a line before it makes them."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from counterpoint.eval.cli.main import build_parser, main

ROOT = Path(__file__).parents[1]
RECORDS = ("docs/figures.md", "docs/costs.md")
"""Pages whose commands say how figures were made, with data that is too large for the repository."""
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if page.relative_to(ROOT).as_posix() not in RECORDS
]
PLACEHOLDER = re.compile(r"(?:^|[=,:])(?:[A-Z]+_OR_[A-Z]+|NAME|ID|PATH|FILE|DIR)(?:$|[,:])")
"""What a reader puts a name of their own in place of."""
HUB = re.compile(r"(?:^|=)(?!docs/|eval/)[\w.-]+/[\w.-]+(?:$|[:,])")
"""A name on the Hugging Face hub."""
SHORT = {"bench": ["--limit", "4", "--max-new-tokens", "6"], "truthfulqa": ["--limit", "2"], "generate": ["--max-new-tokens", "12"]}
"""What is said besides, so that a command takes seconds."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """The fenced blocks of a page, with their languages."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def lines_of(page: Path) -> list[str]:
    """The lines that a reader types, without those that install."""
    lines = [line for language, block in blocks(page) if not language for line in block.replace("\\\n", " ").splitlines()]
    typed = [line.partition("&& ")[2] if line.startswith("pip install") and "&& " in line else line for line in lines]
    return [line for line in typed if line.startswith(("counterpoint ", "echo "))]


def own_files(page: Path) -> dict[str, str]:
    """The files that a page shows: Python whose first line is a name."""
    return {
        name.removeprefix("# "): block
        for language, block in blocks(page)
        if language == "python" and re.fullmatch(r"# \w+\.py", name := block.partition("\n")[0])
    }


def inputs_of(words: Sequence[str]) -> list[str]:
    """The files and folders that a command reads."""
    arguments, _ = build_parser().parse_known_args([*words])
    names = (
        "file",
        "files",
        "directory",
        "directories",
        "held_out_file",
        "exclude",
        "primer",
        "instruction",
        "config",
        "candidates",
    )
    found: list[Any] = [vars(arguments).get(name) for name in names]
    paths = [str(each) for one in found if one is not None for each in (one if isinstance(one, list) else [one])]
    paths += [own for word in words for own in re.findall(r"(?:^|[\[=])([\w/]+\.py):", word)]
    paths += [value for word in words for value in re.findall(r"(?:heads|amateur_adapter)=([\w./]+)", word)]
    return [path for path in paths if not PLACEHOLDER.search(path) and not path.isdecimal() and "wikitext" not in path]


def outputs_of(words: Sequence[str]) -> set[str]:
    """What a command makes."""
    made = {words[place + 1] for place, word in enumerate(words) if word in ("--output", "--output-dir")}
    runs = words[0] == "bench" and not {"add", "score", "compare", "plot", "ls"} & {*words[1:2]}
    return made or ({"bench"} if runs else set())


def missing(page: Path) -> list[str]:
    """The files that commands of a page name, which neither ship nor are made before."""
    made, found = {*own_files(page)}, []
    for line in lines_of(page):
        if line.startswith("echo "):
            made.add(line.rpartition("> ")[2].strip())
            continue
        words = shlex.split(line)[1:]
        found += [f"{line}: {path}" for path in inputs_of(words) if path not in made and not (ROOT / path).exists()]
        made |= outputs_of(words)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_files_that_commands_name_are_there(page: Path) -> None:
    assert missing(page) == []


def test_the_check_catches_a_file_that_nobody_has(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    commands = ["counterpoint rerank --ranker small --file nobody.jsonl", "counterpoint bench compare bench other"]
    page.write_text("".join(f"```\n{each}\n```\n" for each in commands), encoding="utf-8")
    assert [each.rpartition(": ")[2] for each in missing(page)] == ["nobody.jsonl", "bench", "other"]
    made = "```\necho '{}' > nobody.jsonl\ncounterpoint bench\ncounterpoint bench --output-dir other\n```\n"
    page.write_text(made + page.read_text(encoding="utf-8"), encoding="utf-8")
    assert missing(page) == []


def runs_offline(line: str) -> bool:
    """Whether a command needs nothing but what ships."""
    words = shlex.split(line)[1:]
    needs = {"--model", "--embedder", "--featurizer", "--scorer", "--mauve-protocol", "lm-eval", "train-ranker"}
    return not needs & {*words} and not any(PLACEHOLDER.search(word) or HUB.search(word) for word in words)


WITH_COMMANDS = [page for page in PAGES if any(map(runs_offline, lines_of(page)))]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.stem)
def test_commands_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """All of a page, one after the other, in a folder that has what ships and what the page shows."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "docs" / "samples", tmp_path / "docs" / "samples")
    shutil.copytree(ROOT / "eval" / "data", tmp_path / "eval" / "data")
    for name, content in own_files(page).items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    for line in lines_of(page):
        if line.startswith("echo "):
            text, _, file = line.removeprefix("echo ").rpartition(" > ")
            (tmp_path / file.strip()).write_text(shlex.split(text)[0] + "\n", encoding="utf-8")
        elif runs_offline(line):
            words = shlex.split(line)[1:]
            short = (
                SHORT.get(words[0], []) if words[:2] not in (["bench", "score"], ["bench", "compare"], ["bench", "plot"]) else []
            )
            status = main([*words, *short])
            assert status == 0, f"{line}\n{capsys.readouterr().err}"
