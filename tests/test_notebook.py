"""The notebook of docs: its cells run one after the other, as Jupyter would run them, and what they end with can be displayed."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


def cells(kind: str) -> list[str]:
    """The sources of the notebook's cells of a kind."""
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == kind]


def run(source: str, names: dict[str, Any]) -> Any:
    """What a cell ends with, as Jupyter displays it: the value of its last line, if that is an expression."""
    *statements, last = ast.parse(source).body
    shown = isinstance(last, ast.Expr)
    code = ast.Module([*statements, *([] if shown else [last])], type_ignores=[])
    exec(compile(code, NOTEBOOK.name, "exec"), names)  # noqa: S102, our own
    return eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names) if isinstance(last, ast.Expr) else None  # noqa: S307


def test_the_notebook_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    shown = [run(source, names) for source in cells("code")]
    assert capsys.readouterr().out.startswith("The old captain looked at the sea and")
    compared, explained = (value for value in shown if value is not None and hasattr(value, "_repr_html_"))
    assert compared.decoders[-2:] == (
        "contrastive_search:penalty_alpha=0.4,top_k=5",
        "contrastive_search:penalty_alpha=0.6,top_k=5",
    )
    assert "<table" in compared._repr_html_()
    assert explained._repr_html_()


def test_it_is_a_notebook_without_old_outputs() -> None:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in content["cells"]}) == len(content["cells"])
    assert not [cell for cell in content["cells"] if cell.get("outputs")]
    for target in [line.split("](")[1].split(")")[0] for text in cells("markdown") for line in text.split("[")[1:] if "](" in line]:
        assert (NOTEBOOK.parent / target).exists(), target
