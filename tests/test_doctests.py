"""Every example runs, and every public name has documentation."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
from itertools import pairwise
from pathlib import Path

import pytest

import counterpoint.decoders
import counterpoint.eval
import counterpoint.rankers
from extras import NEED

PACKAGES = [counterpoint.decoders, counterpoint.eval, counterpoint.rankers]
MODULES = [
    name
    for package in PACKAGES
    for name in [package.__name__, *(module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."))]
]
PUBLIC = [(package.__name__, name) for package in PACKAGES for name in getattr(package, "__all__", ())]


def test_modules_are_found() -> None:
    assert {"counterpoint.decoders.search.contrastive_search", "counterpoint.eval.cli.main", "counterpoint.rankers"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    if name in NEED:
        pytest.importorskip(NEED[name], reason="needs an extra")
    module = importlib.import_module(name)
    assert module.__doc__
    assert doctest.testmod(module).failed == 0  # standard output shows what differs


@pytest.mark.parametrize(("package", "name"), PUBLIC)
def test_public_names_are_documented(package: str, name: str) -> None:
    value = getattr(importlib.import_module(package), name)
    documentation = inspect.getdoc(value) if inspect.isroutine(value) or inspect.isclass(value) else constants(package)[name]
    assert documentation


def constants(package: str) -> dict[str, str]:
    """The names that a package's ``__init__.py``, or a module that its stub names, assigns and documents by a string below."""
    stub = Path(str(importlib.import_module(package).__file__)).with_suffix(".pyi")
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    modules = {statement.module for statement in ast.walk(tree) if isinstance(statement, ast.ImportFrom) and statement.module}
    return {
        target.id: below.value.value
        for module in (package, *modules)
        for statement, below in pairwise(ast.parse(inspect.getsource(importlib.import_module(module))).body)
        if isinstance(statement, ast.Assign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


@pytest.mark.parametrize("name", counterpoint.decoders.__all__)
def test_public_decoders_have_an_example_that_runs(name: str) -> None:
    value = getattr(counterpoint.decoders, name)
    module = importlib.import_module(value.__module__)
    found = {test.name for test in doctest.DocTestFinder().find(module) if test.examples}
    assert any(f"{example}.".startswith(f"{module.__name__}.{name}.") for example in found)
