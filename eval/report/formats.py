"""The table of a benchmark in other formats: for spreadsheets, for papers, for programs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from counterpoint.eval.report.about import grouped
from counterpoint.eval.report.figures import differs, heading, is_best, means_little, number, shown_columns
from counterpoint.eval.report.table import markdown

KEYS = ("value", "low", "high", "standard_error", "p_adjusted", "best", "means_little")
"""What the CSV and JSON have of each figure."""


def records(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A record for each decoder and figure, human texts last."""
    rows = [*results["rows"], *([results["human"]] if results["human"] else [])]
    return [
        {"decoder": row["name"], "label": row["label"], "texts": row["texts"], "metric": name, **facts(row["figures"][name])}
        for row in rows
        for name in shown_columns(results)
    ]


def facts(figure: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a figure, by :data:`KEYS`."""
    low, high = figure.get("interval") or (None, None)
    found = (
        figure["value"],
        low,
        high,
        figure.get("standard_error"),
        figure.get("p_adjusted"),
        is_best(figure),
        means_little(figure),
    )
    return dict(zip(KEYS, found, strict=True))


def as_json(results: Mapping[str, Any]) -> str:
    """The records as JSON."""
    return json.dumps(records(results), indent=1, ensure_ascii=False) + "\n"


def as_csv(results: Mapping[str, Any]) -> str:
    """The records as CSV, a line each: what a spreadsheet pivots, and pandas reads."""
    file = io.StringIO()
    writer = csv.DictWriter(file, ("decoder", "label", "texts", "metric", *KEYS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records(results))
    return file.getvalue()


def as_latex(results: Mapping[str, Any]) -> str:
    """The main columns for a paper, with booktabs; figures that mean little are grey, with xcolor."""
    columns = results["columns"]
    groups = grouped(results, [name for name in shown_columns(results) if not columns[name]["detail"]])
    names = [name for own in groups.values() for name in own]
    kinds = " & ".join(rf"\multicolumn{{{len(own)}}}{{c}}{{{group}}}" for group, own in groups.items())
    rows = [[row["name"], *(latex_cell(columns[name], row["figures"][name]) for name in names)] for row in results["rows"]]
    lines = [latex_line(row) for row in rows]
    if results["human"]:
        human = ["human", *(latex_cell(columns[name], results["human"]["figures"][name]) for name in names)]
        lines += [r"\midrule", latex_line(human)]
    return "\n".join(
        [
            r"% \usepackage{booktabs,xcolor}",
            rf"\begin{{tabular}}{{l{'r' * len(names)}}}",
            r"\toprule",
            rf"& {kinds} \\",
            " & ".join(["decoder", *(escaped(heading(columns[name])) for name in names)]) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def latex_line(cells: list[str]) -> str:
    """A row, whose first cell is still text."""
    return " & ".join([escaped(cells[0]), *cells[1:]]) + r" \\"


def latex_cell(column: Mapping[str, Any], figure: Mapping[str, Any]) -> str:
    """A figure as the table has it."""
    text = escaped(number(column, figure))
    text = rf"\textbf{{{text}}}" if is_best(figure) else text
    text += r"$^\dagger$" if differs(figure) else ""
    return rf"\textcolor{{gray}}{{{text}}}" if means_little(figure) else text


def escaped(text: str) -> str:
    r"""Text that LaTeX sets as it is.

    Example:
        >>> from counterpoint.eval.report.formats import escaped
        >>> escaped("top_p 95% ↑")
        'top\\_p 95\\% $\\uparrow$'
    """
    signs = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    signs |= {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "<": r"$<$", ">": r"$>$", "|": r"$|$"}
    signs |= {sign: rf"\{sign}" for sign in "#$%&_{}"}
    return re.sub(r"[\\~^↑↓±<>|#$%&_{}]", lambda found: signs[found[0]], text)


FORMATS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "markdown": ("table.md", markdown),
    "csv": ("table.csv", as_csv),
    "latex": ("table.tex", as_latex),
}
"""The name of each format's file, and what writes it."""
