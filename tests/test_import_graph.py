"""Arrows run down: which file of the packages may name which other one.

The graph is drawn from the sources with ``ast``, so that nothing is imported: all imports, within functions and for type checkers
too, and the modules that strings name. Examples in docstrings are users' code and make no circle, but those of rankers name nothing
of eval either.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("decoders", "rankers", "eval")
MOST_FILES = 22
"""Python files in a folder."""

NAMED = re.compile(r"\bcounterpoint(?:\.\w+)+")
EXAMPLE = re.compile(r"^\s*(?:>>>|\.\.\.) .*$", re.MULTILINE)

WINGS = (
    "decoders.hf decoders.kernels",
    "decoders.forwards",
    "decoders.amateurs",
    "decoders.base",
    "decoders.contrasts decoders.layers decoders.sampling decoders.search",
    "decoders.speculative",
    "decoders.text_outputs",
    "decoders.scoring decoders.installing",
    "decoders.choosing decoders.named",
    "decoders.exporting",
    "rankers",
    "eval.metrics",
    "eval.bench eval.engines eval.questions eval.training",
    "eval.cli",
)
"""Wings from the lowest up; one imports nothing of those above it, and those in a line may import each other."""


@dataclass(frozen=True)
class Source:
    """A file, and the modules that it names."""

    path: Path
    imports: frozenset[str]
    examples: frozenset[str]
    """Modules that only the examples of its docstrings name."""


Graph = Mapping[str, Source]
"""The files by their modules' names, without the distribution's."""


def draw(root: Path) -> Graph:
    """The graph of the packages below a folder."""
    paths = {name_of(path.relative_to(root)): path for package in PACKAGES for path in (root / package).rglob("*.py")}
    graph = {}
    for name, path in paths.items():
        imports, examples = named_in(ast.parse(path.read_text(encoding="utf-8")))
        known, shown = (frozenset(filter(None, (module_of(one, paths) for one in found))) - {name} for found in (imports, examples))
        graph[name] = Source(path, known, shown - known)
    return graph


def name_of(path: Path) -> str:
    """A file's module, a package for its first file."""
    return ".".join(path.parent.parts if path.name == "__init__.py" else path.with_suffix("").parts)


def module_of(name: str, paths: Mapping[str, Path]) -> str | None:
    """The module in which a dotted name is found; None for what is not of these packages."""
    parts = name.removeprefix("counterpoint.").split(".")
    return next((known for end in range(len(parts), 0, -1) if (known := ".".join(parts[:end])) in paths), None)


def named_in(tree: ast.Module) -> tuple[set[str], set[str]]:
    """The dotted names that code imports or has in strings, and those in the examples of strings."""
    imports: set[str] = set()
    examples: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "imports are absolute"
            imports |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            examples |= imported("\n".join(EXAMPLE.findall(node.value)))
            imports |= to_be_imported(node.value)
    return {name for name in imports if name.startswith("counterpoint.")}, examples


def to_be_imported(text: str) -> set[str]:
    """The module of a string that is a dotted name alone, with or without an object after a colon; other texts are for readers."""
    module = text.partition(":")[0].strip()
    return {module} if NAMED.fullmatch(module) else set()


def imported(example: str) -> set[str]:
    """The dotted names that examples import."""
    return {
        f"{module}.{name.strip()}"
        for module, names in re.findall(r"from (counterpoint[\w.]*) import ([\w, ]+)", example)
        for name in names.split(",")
    }


def circles(graph: Graph) -> Iterator[str]:
    """A circle of imports, if there is one."""
    try:
        TopologicalSorter({name: source.imports for name, source in graph.items()}).prepare()
    except CycleError as error:
        yield f"a circle: {' -> '.join(error.args[1])}"


def upward(graph: Graph) -> Iterator[str]:
    """Files that name something of a wing above their own."""
    levels = {wing: level for level, wings in enumerate(WINGS) for wing in wings.split()}

    def level_of(name: str) -> int | None:
        return next((levels[wing] for wing in levels if name == wing or name.startswith(f"{wing}.")), None)

    for name, source in graph.items():
        for other in sorted(source.imports):
            own, level = level_of(name), level_of(other)
            if own is not None and level is not None and level > own:
                yield f"{name} imports {other}, which is above it"


def of_other_packages(graph: Graph) -> Iterator[str]:
    """Decoders that name rankers or eval, and rankers that name eval, in examples too."""
    for name, source in graph.items():
        package = PACKAGES.index(name.partition(".")[0])
        found = source.imports | (source.examples if PACKAGES[package] == "rankers" else set())
        yield from (f"{name} names {other}" for other in sorted(found) if PACKAGES.index(other.partition(".")[0]) > package)


def command_modules(graph: Graph) -> Iterator[str]:
    """Files outside the command line that import it."""
    for name, source in graph.items():
        if not name.startswith("eval.cli"):
            yield from (f"{name} imports {other}" for other in sorted(source.imports) if other.startswith("eval.cli"))


def crowded(graph: Graph) -> Iterator[str]:
    """Folders of too many files."""
    counts = Counter(source.path.parent for source in graph.values())
    yield from (f"{folder.name} has {count} files" for folder, count in counts.items() if count > MOST_FILES)


RULES = (circles, upward, of_other_packages, command_modules, crowded)


@pytest.mark.parametrize("rule", RULES)
def test_the_house_keeps_to_its_wings(rule: object) -> None:
    assert callable(rule)
    assert list(rule(draw(ROOT))) == []


def test_every_wing_is_there() -> None:
    graph = draw(ROOT)
    assert {wing for wings in WINGS for wing in wings.split()} <= graph.keys()
    assert sum(len(source.imports) for source in graph.values()) > 500


BROKEN = [
    (
        circles,
        {
            "decoders/a.py": "def f():\n    from counterpoint.decoders.b import g\n",
            "decoders/b.py": "import counterpoint.decoders.a",
        },
    ),
    (
        circles,
        {
            "eval/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from counterpoint.eval.b import B\n",
            "eval/b.py": 'A = "counterpoint.eval.a:A"\n',
        },
    ),
    (upward, {"decoders/hf/a.py": "from counterpoint.decoders.forwards import b", "decoders/forwards/b.py": ""}),
    (upward, {"eval/metrics/a.py": "from counterpoint.eval.bench.b import c", "eval/bench/b.py": ""}),
    (of_other_packages, {"decoders/a.py": "from counterpoint.rankers.b import c", "rankers/b.py": ""}),
    (of_other_packages, {"rankers/a.py": 'NAME = "counterpoint.eval.b:C"', "eval/b.py": ""}),
    (of_other_packages, {"rankers/a.py": '"""Text.\n\n>>> from counterpoint.eval import EXPERT\n"""', "eval/__init__.py": ""}),
    (command_modules, {"eval/a.py": "from counterpoint.eval.cli.b import positive", "eval/cli/b.py": ""}),
    (crowded, {f"eval/bench/a{number}.py": "" for number in range(MOST_FILES + 1)}),
]


@pytest.mark.parametrize(("rule", "files"), BROKEN)
def test_what_breaks_a_rule_is_found(rule: object, files: dict[str, str], tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert callable(rule)
    assert len(list(rule(draw(tmp_path)))) == 1


def test_what_keeps_to_the_rules_passes(tmp_path: Path) -> None:
    """Downward imports, and what documentation and users' examples name."""
    files = {
        "decoders/hf/a.py": '"""Serves :mod:`counterpoint.eval.b`.\n\n>>> from counterpoint.eval import b\n"""',
        "eval/b.py": "from counterpoint.decoders.hf import a\nimport counterpoint.decoders.hf.a\nimport torch\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert [found for rule in RULES for found in rule(draw(tmp_path))] == []
