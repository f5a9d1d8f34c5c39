"""Public names that are imported when they are first used (PEP 562), so that a package alone costs no torch."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

Attribute = Callable[[str], Any]


def exports(package: str, file: str) -> tuple[Attribute, Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package, from the stub beside its ``__init__.py``.

    The stub's imports, which type checkers read, say which module a name is from; its other names are set by the package itself,
    but for ``__version__``, that of the distribution.

    Args:
        package: The package's ``__name__``.
        file: The package's ``__file__``.
    """
    tree = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
    modules = {
        alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("counterpoint.")
        for alias in node.names
    }
    constants = [node.target.id for node in tree.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]

    def get(name: str) -> Any:
        if name == "__version__":
            return version("counterpoint")
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    names = sorted([*modules, *(name for name in constants if not name.startswith("_"))])
    return get, lambda: [*names, "__version__"], names
