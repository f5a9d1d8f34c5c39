"""The page's table of figures: columns by kind, an explanation of each on demand, values by which a script sorts."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from counterpoint.eval.report.about import about, grouped
from counterpoint.eval.report.figures import heading, is_best, marks, means_little, number, partial, shown_columns
from counterpoint.eval.report.shell import called


def html_table(results: Mapping[str, Any]) -> str:
    """All figures; those that are details go by a class, so that they can be left out where there is little room."""
    groups = grouped(results, shown_columns(results))
    names = [name for own in groups.values() for name in own]
    kinds = "".join(f'<th scope="colgroup" colspan="{len(own)}">{group}</th>' for group, own in groups.items())
    head = "".join(header_cell(results, name) for name in names)
    rows = "\n".join(f"<tr>{row_header(row)}{''.join(cell(results, row, name) for name in names)}</tr>" for row in results["rows"])
    return (
        '<table id="table">\n<caption class="unseen">Figures of each decoder; the buttons in the header sort</caption>\n'
        f'<thead><tr class="groups"><th rowspan="2" scope="col">decoder</th>{kinds}</tr>\n<tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>{human_row(results, names)}\n</table>"
    )


def human_row(results: Mapping[str, Any], names: list[str]) -> str:
    """Human texts, below all decoders however they are sorted."""
    if not results["human"]:
        return ""
    cells = "".join(cell(results, results["human"], name) for name in names)
    return f'\n<tfoot><tr class="human"><th scope="row">human</th>{cells}</tr></tfoot>'


def header_cell(results: Mapping[str, Any], name: str) -> str:
    """A column's title, which sorts, and the sign that explains it."""
    column = results["columns"][name]
    metric, title = escape(column["metric"]), escape(column["title"])
    sort = f'<button type="button" class="sort">{escape(heading(column))}</button>'
    why = f'<button type="button" class="why" popovertarget="about-{metric}" aria-label="What {title} says">?</button>'
    return f'<th scope="col"{kind_of(column)} data-column="{escape(name)}"><span class="head">{sort}{why}</span></th>'


def row_header(row: Mapping[str, Any]) -> str:
    """A decoder's name, which opens to all of its parameters."""
    name = escape(row["name"]) + (" (partial)" if partial(row) else "")
    if row["label"] == row["name"]:
        return f'<th scope="row">{name}</th>'
    label = escape(row["label"]).replace(",", ",<wbr>")
    return f'<th scope="row"><details><summary>{name}</summary><code>{label}</code></details></th>'


def cell(results: Mapping[str, Any], row: Mapping[str, Any], name: str) -> str:
    """A figure: strong if it is among the best, grey if it means little."""
    column, figure = results["columns"][name], row["figures"][name]
    value, space, error = escape(number(column, figure)).partition(" ")
    shown = f"<strong>{value}</strong>" if is_best(figure) else value
    shown += f"<small>{space}{error}</small>" if error else ""
    data = "" if figure["value"] is None else f' data-value="{figure["value"]:.6g}"'
    return f"<td{kind_of(column, means_little(figure))}{data}>{shown}{marks(figure)}</td>"


def kind_of(column: Mapping[str, Any], little: bool = False) -> str:
    """The classes of a cell."""
    kinds = " ".join(kind for kind, has in (("detail", column["detail"]), ("little", little)) if has)
    return f' class="{kinds}"' if kinds else ""


def explanations(results: Mapping[str, Any]) -> str:
    """For every metric what it says, which opens over the page."""
    columns = {results["columns"][name]["metric"]: results["columns"][name] for name in shown_columns(results)}
    return "\n".join(explanation(results, metric, column) for metric, column in columns.items())


def explanation(results: Mapping[str, Any], metric: str, column: Mapping[str, Any]) -> str:
    """One metric's: its columns, which values are good, its settings, page and papers."""
    found, own = about(column), [each for each in results["columns"].values() if each["metric"] == metric]
    better = {"higher": "more is better", "lower": "less is better", "human": "near to human text is good"}
    kinds = {kind: ", ".join(each["title"] for each in own if each["better"] == kind) for kind in better}
    lines = [escape(found.says), escape("; ".join(f"{titles}: {better[kind]}" for kind, titles in kinds.items() if titles)) + "."]
    if column["settings"]:
        settings = ", ".join(f"{key.replace('_', ' ')} {called(str(value))}" for key, value in column["settings"].items())
        lines.append(f"Measured with {escape(settings)}.")
    if found.page:
        papers = ", ".join(f'<a href="https://arxiv.org/abs/{each}" rel="noreferrer">arXiv {each}</a>' for each in found.papers)
        lines.append(f"More: <code>docs/metrics/{found.page}.md</code> of Counterpoint{'; ' * bool(papers)}{papers}.")
    text = "".join(f"<p>{line}</p>" for line in lines)
    place = f"about-{escape(metric)}"
    return (
        f'<div popover class="about" id="{place}" role="dialog" aria-label="About {escape(metric)}"><h3>{escape(metric)}</h3>{text}'
        f'<button type="button" popovertarget="{place}" popovertargetaction="hide">Close</button></div>'
    )
