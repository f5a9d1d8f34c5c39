"""The Python of README and docs runs as it stands, page after page, their commands are understood, their links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from counterpoint.decoders.choosing.sweeps import expanded
from counterpoint.decoders.testing import DecoderLaws
from counterpoint.eval.bench.own_metrics import metric_named
from counterpoint.eval.choosing import TABLE, parse_decoder, parse_rankers
from counterpoint.eval.cli.bench.options import read_options
from counterpoint.eval.cli.main import build_parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]


def blocks(page: Path, language: str) -> list[str]:
    """The contents of a page's fenced blocks of a language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [content for name, content in fenced if name == language]


def links(page: Path) -> list[tuple[Path, str]]:
    """The files that a page links to, and the headings in them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = [target.partition("#") for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    return [((page.parent / file).resolve() if file else page, heading) for file, _, heading in targets]


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    lines = [line.lstrip("#").strip().lower() for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w -]", "", line).replace(" ", "-") for line in lines}


FILES = {
    heading.removeprefix("# "): block
    for page in PAGES
    for block in blocks(page, "python")
    if re.fullmatch(r"# \w+\.py", heading := block.partition("\n")[0])
}
"""The files that pages show, each a block whose first line is its name."""
FILES["heads.json"] = json.dumps({f"0-{head}": [0.5] for head in range(20)})  # as one command writes it and the next one takes it

COMMANDS = [
    line.partition("&& ")[2] if line.startswith("pip install") else line
    for page in PAGES
    for block in blocks(page, "")
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("counterpoint ") or "&& counterpoint " in line
]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current folder with the files that pages show."""
    for name, content in FILES.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("name", [name for page, name in zip(PAGES, NAMES, strict=True) if blocks(page, "python")])
def test_python_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for block in blocks(ROOT / name, "python"):
        exec(compile(block, name, "exec"), names)  # noqa: S102 - our own text
    for laws in (each for each in names.values() if isinstance(each, type) and issubclass(each, DecoderLaws)):
        for law in (law for law in dir(laws) if law.startswith("test_") and laws is not DecoderLaws):
            getattr(laws(), law)()
    assert capsys.readouterr().out.startswith("The whale" if name == "README.md" else "")


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS))
def test_commands_are_understood(command: str) -> None:
    words = shlex.split(command)
    assert words[0] == "counterpoint"
    if "--help" in words:
        return
    arguments, others = build_parser().parse_known_args(words[1:])
    assert not others or words[1] == "lm-eval"  # which passes them on
    chosen = vars(arguments)
    if words[1] in ("generate", "score", "truthfulqa", "factor") and chosen["decoder"]:
        parse_decoder(chosen["decoder"], scoring=words[1] != "generate")
    if words[1] in ("generate", "rerank") and chosen["ranker"]:
        parse_rankers(chosen["ranker"])
    for word in [*(chosen.get("compare") or ()), *(chosen.get("decoders") or ())]:
        for choice in expanded(word):
            parse_decoder([choice])
    for metric in {*(chosen.get("metrics") or ())} - {"speed"}:
        metric_named(metric)


@pytest.mark.parametrize("name", [name for page, name in zip(PAGES, NAMES, strict=True) if blocks(page, "yaml")])
def test_files_of_options_are_understood(name: str, tmp_path: Path) -> None:
    for block in blocks(ROOT / name, "yaml"):
        file = tmp_path / "options.yaml"
        file.write_text(block, encoding="utf-8")
        assert read_options(file)


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    for file, heading in links(ROOT / name):
        assert file.exists(), file
        assert not heading or heading in headings(file), heading


def test_every_page_is_found_from_the_index() -> None:
    index = {file for file, _ in links(ROOT / "docs" / "README.md")}
    assert {page for page in PAGES if ROOT / "docs" in page.parents} - {ROOT / "docs" / "README.md"} <= index
    assert {page.stem for page in PAGES if page.parent.name == "decoders"} == set(TABLE.rows)


@pytest.mark.parametrize("name", TABLE.rows)
def test_pages_of_decoders_have_their_defaults(name: str) -> None:
    page = (ROOT / "docs" / "decoders" / f"{name}.md").read_text(encoding="utf-8")
    rows = {
        parameter: cells[1].strip()
        for cells in (line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `"))
        for parameter in re.findall(r"`(\w+)`", cells[0])
    }
    assert {parameter: cell.partition(" ")[0] for parameter, cell in rows.items()} == {
        parameter: default.written_default().lower() for parameter, default in TABLE.rows[name].parameters.items()
    }
