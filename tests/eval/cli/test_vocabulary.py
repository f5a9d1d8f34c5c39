"""One vocabulary: an option means the same in every command, errors name the one that was meant, and the page has them all."""

from __future__ import annotations

import argparse
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from counterpoint.eval.cli.main import build_parser, main
from counterpoint.eval.cli.options import SHARED, new_file

ROOT = Path(__file__).parents[3]
MAKE: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "make_command_line.py"))
PARSERS: list[argparse.ArgumentParser] = list(MAKE["commands"](build_parser()))
OPTIONS = [(parser.prog, name, action) for parser in PARSERS for action in parser._actions for name in action.option_strings]


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that is used wrongly."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert (captured.err.count("\n"), captured.out) == (1, "")
    return captured.err


def test_the_page_is_made_from_the_parsers() -> None:
    assert (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8") == MAKE["page"]()


def test_the_page_would_show_a_new_option() -> None:
    parser = argparse.ArgumentParser()
    assert MAKE["groups"](parser) == []
    parser.add_argument("--new", metavar="X", help="a|b (default: %(default)s)", default=3)
    (table,) = MAKE["groups"](parser)
    assert table.endswith("| `--new X` | a\\|b (default: 3) |")


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_option_is_the_same_everywhere(name: str) -> None:
    kinds = {(action.metavar, action.type, action.nargs, str(action.choices)) for _, option, action in OPTIONS if option == name}
    assert len(kinds) == 1
    owners = [prog for prog, option, _ in OPTIONS if option == name]
    assert len(owners) > 1


def test_results_are_printed_as_json_by_every_command_that_prints_any() -> None:
    without = {parser.prog for parser in PARSERS} - {prog for prog, name, _ in OPTIONS if name == "--json"}
    assert without == {"counterpoint lm-eval", "counterpoint serve"}  # the harness has its own options; a server answers requests


def test_every_option_says_what_it_is() -> None:
    assert [(prog, name) for prog, name, action in OPTIONS if not action.help] == []


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]
)
def test_pages_name_options_that_exist(page: str) -> None:
    known = {name for _, name, _ in OPTIONS} | {"--version"}
    foreign = {
        "--config-settings",
        "--model_args",
        "--tasks",
        "--num_processes",
        "--multi_gpu",
        "--cpu",
        "--array",
        "--additional-config",
        "--logits-processors",
        "--logprobs-mode",
        "--gpu-memory-utilization",
        "--max-model-len",
    }  # pip, harness, accelerate, SLURM, vLLM
    text = re.sub(r"^ *(pip|pytest|python) .*$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {*re.findall(r"(?<![\w-])--[a-z][\w-]*\w", text)} - known - foreign == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generat", "x"], "invalid choice: 'generat' (did you mean generate?); choose from generate, explain, score, rerank"),
        (["generat", "x"], "see counterpoint --help or docs/command_line.md\n"),
        (["generate", "x", "--max_new_tokens", "3"], "unknown option --max_new_tokens (did you mean --max-new-tokens?)"),
        (
            ["generate", "x", "--max_new_tokens", "3"],
            "see counterpoint generate --help or docs/command_line.md#counterpoint-generate\n",
        ),
        (["generate", "x", "--modle=y"], "unknown option --modle (did you mean --model?)"),
        (["generate", "x", "--xyzzy"], "unknown option --xyzzy; see"),
        (["generate", "x", "--alpha", "0.1"], "written behind its decoder: --decoder contrastive_decoding:alpha=VALUE"),
        (["factor", "--alpha", "0.1"], "(docs/decoders/contrastive_decoding.md)"),
        (["factor", "--output", "x"], "unknown option --output (did you mean --output-dir?)"),
        (["bench", "--limits", "3"], "unknown option --limits (did you mean --limit?); see counterpoint bench --help"),
        (["bench", "run", "--limits", "3"], "docs/command_line.md#counterpoint-bench-run"),
        (["bench", "polt", "x", "--output-dir", "y"], "invalid choice: 'polt' (did you mean plot?)"),
        (["generate", "x", "--dtype", "flaot16"], "invalid choice: 'flaot16' (did you mean float16?)"),
        (["export", "x", "y"], "unrecognized arguments: y"),
        (["--modle", "generate"], "unknown option --modle; see counterpoint --help"),
    ],
)
def test_what_was_meant(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert message in failure(capsys, *arguments)


def test_pages_in_errors_have_the_headings_that_they_point_to(capsys: pytest.CaptureFixture[str]) -> None:
    headings = {
        line.lstrip("#").strip().replace(" ", "-")
        for line in (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("#")
    }
    for parser in PARSERS:
        words = parser.prog.split()[1:]
        if words != ["lm-eval"]:
            assert failure(capsys, *words, "--xyzzy").strip().partition("#")[2] in headings


@pytest.mark.parametrize("words", [["--", "--xyzzy"], ["--what is this"]])
def test_a_prompt_may_look_like_an_option(words: list[str]) -> None:
    assert build_parser().parse_args(["generate", *words]).prompt == words[-1]


def test_new_files(tmp_path: Path) -> None:
    assert new_file(str(tmp_path / "new")) == tmp_path / "new"
    for wrong, message in ((tmp_path, "is a folder"), (tmp_path / "absent" / "new", "there is no folder")):
        with pytest.raises(argparse.ArgumentTypeError, match=message):
            new_file(str(wrong))
