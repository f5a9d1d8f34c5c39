"""Results of a benchmark as a Markdown table: a row for each decoder, a mark where it differs from the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from counterpoint.eval.report.figures import called, heading, is_best, marks, number, shown_columns
from counterpoint.eval.report.notes import notes


def markdown(results: Mapping[str, Any], details: bool = True) -> str:
    """The table, what its marks mean, what could not be measured, and which decoders failed; a second one with the ``details``."""
    shown = shown_columns(results)
    parts = [[name for name in shown if not results["columns"][name]["detail"]]]
    parts += [[name for name in shown if results["columns"][name]["detail"]]] if details else []
    lines = [line for names in parts if names for line in [*figures_table(results, names), ""]]
    return "\n".join([*lines, *(f"- {note}" for note in notes(results))]) + "\n"


def figures_table(results: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Some columns for all decoders, and for human texts."""
    rows = [[called(row), *(cell(results, row, name) for name in names)] for row in results["rows"]]
    if results["human"]:
        rows.append(["*human*", *(number(results["columns"][name], results["human"]["figures"][name]) for name in names)])
    return table(["decoder", *(heading(results["columns"][name]) for name in names)], rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> list[str]:
    """Lines of a Markdown table whose columns are as wide as what is in them: ``names`` to the left, then numbers."""
    cells = [[text.replace("|", "\\|") for text in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * width if place < names else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    return [f"| {' | '.join(aligned(row, widths, names))} |" for row in (cells[0], rule, *cells[1:])]


def aligned(row: Sequence[str], widths: Sequence[int], names: int) -> list[str]:
    """Cells as wide as their columns."""
    return [
        text.ljust(width) if place < names else text.rjust(width)
        for place, (text, width) in enumerate(zip(row, widths, strict=True))
    ]


def cell(results: Mapping[str, Any], row: Mapping[str, Any], name: str) -> str:
    """A decoder's figure: bold if no test tells it from the best, marked if it differs from the first decoder's or means little."""
    figure = row["figures"][name]
    text = number(results["columns"][name], figure)
    return f"**{text}**{marks(figure)}" if is_best(figure) else f"{text}{marks(figure)}"
