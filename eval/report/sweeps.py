"""Decoders that ran with several values of their parameters: a curve over one parameter, a heat map over two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import product
from typing import Any

from counterpoint.eval.report.drawing import data_table, scale, svg, ticks
from counterpoint.eval.report.figures import heading, means_little, number, shown_columns

LEAST = 3
"""Settings of a decoder that are called a sweep."""
WIDTH, HEIGHT = 320.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 312.0, 10.0, 158.0
Rows = Sequence[Mapping[str, Any]]


def sweeps(results: Mapping[str, Any]) -> dict[str, tuple[list[str], Rows]]:
    """For each decoder that ran with enough settings the parameters that differ, the one with most values last, and its rows."""
    found: dict[str, tuple[list[str], Rows]] = {}
    for decoder in dict.fromkeys(row["decoder"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["decoder"] == decoder]
        keys = [key for key in rows[0]["parameters"] if len(values_of(rows, key)) > 1]
        if len(rows) >= LEAST and keys:
            found[decoder] = (sorted(keys, key=lambda key: len(values_of(rows, key))), rows)
    return found


def values_of(rows: Rows, key: str) -> list[Any]:
    """The values of a parameter, numbers in their order."""
    values = list(dict.fromkeys(row["parameters"].get(key) for row in rows))
    return sorted(values) if all(map(is_number, values)) else values


def is_number(value: object) -> bool:
    """Whether a value can be a place on an axis."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def drawn_sweeps(results: Mapping[str, Any]) -> str:
    """All sweeps as parts of the page, one after the other."""
    return "\n".join(drawn_sweep(results, decoder, keys, rows) for decoder, (keys, rows) in sweeps(results).items())


def drawn_sweep(results: Mapping[str, Any], decoder: str, keys: Sequence[str], rows: Rows) -> str:
    """A picture of each main figure over the parameters."""
    names = [name for name in shown_columns(results) if not results["columns"][name]["detail"] and worth_showing(rows, name)]
    one = len(keys) == 1 and all(map(is_number, values_of(rows, keys[0])))
    pictures = [curve(results, keys[0], rows, name) if one else heat_maps(results, keys, rows, name) for name in names]
    return f'<h3>{escape(decoder)} over {escape(" and ".join(keys))}</h3>\n<div class="panels">{"".join(pictures)}</div>'


def worth_showing(rows: Rows, name: str) -> bool:
    """Whether two rows have figures that mean something."""
    return sum(row["figures"][name]["value"] is not None and not means_little(row["figures"][name]) for row in rows) > 1


def target(results: Mapping[str, Any], name: str) -> float | None:
    """The figure of human texts, where near to it is good."""
    if results["columns"][name]["better"] != "human" or not results["human"]:
        return None
    value: float | None = results["human"]["figures"][name]["value"]
    return value


def curve(results: Mapping[str, Any], key: str, rows: Rows, name: str) -> str:
    """A figure over one parameter, with intervals, and human texts as a line."""
    column, human = results["columns"][name], target(results, name)
    found = sorted(
        ((float(row["parameters"][key]), row["figures"][name]) for row in rows if row["figures"][name]["value"] is not None),
        key=lambda each: each[0],
    )
    ends = [end for _, figure in found for end in (figure.get("interval") or [figure["value"]])]
    _, x = scale([place for place, _ in found], LEFT, RIGHT)
    numbers, y = scale([*ends, *([] if human is None else [human])], BOTTOM, TOP)
    parts = [f'<path class="grid" d="M{LEFT} {y(each):.1f}H{RIGHT}"/>' for each in numbers]
    parts += [f'<text class="tick" text-anchor="end" x="{LEFT - 5}" y="{y(each) + 4:.1f}">{each:g}</text>' for each in numbers]
    places = [place for place, _ in found]
    shown = places if len(places) <= 6 else ticks(places[0], places[-1])
    parts += [f'<text class="tick" text-anchor="middle" x="{x(each):.1f}" y="{BOTTOM + 15}">{each:g}</text>' for each in shown]
    parts.append(f'<text class="axis" text-anchor="middle" x="{(LEFT + RIGHT) / 2:.0f}" y="{HEIGHT - 3}">{escape(key)}</text>')
    if human is not None:
        parts.append(f'<path class="human" d="M{LEFT} {y(human):.1f}H{RIGHT}"/>')
        parts.append(f'<text class="axis" x="{LEFT + 4}" y="{y(human) - 4:.1f}">human</text>')
    for place, figure in found:
        if figure.get("interval"):
            low, high = figure["interval"]
            parts.append(f'<path class="bar" d="M{x(place):.1f} {y(low):.1f}V{y(high):.1f}"/>')
        parts.append(f'<circle cx="{x(place):.1f}" cy="{y(figure["value"]):.1f}" r="3.5"/>')
    line = "L".join(f"{x(place):.1f} {y(figure['value']):.1f}" for place, figure in found)
    parts.append(f'<path class="curve" d="M{line}"/>')
    words = f"{column['title']} over {key}; the table below the picture has the figures"
    table = data_table([key, column["title"]], [[f"{place:g}", number(column, figure)] for place, figure in found])
    return f"<figure>{svg(words, ''.join(parts), WIDTH, HEIGHT)}<figcaption>{escape(heading(column))}{table}</figcaption></figure>"


def heat_maps(results: Mapping[str, Any], keys: Sequence[str], rows: Rows, name: str) -> str:
    """A figure over the last two parameters as a table whose best cells are the darkest, one for each value of the others."""
    *others, down, across = ["", *keys] if len(keys) == 1 else keys
    column = results["columns"][name]
    tables = []
    for fixed in product(*(values_of(rows, key) for key in others)):
        own = [row for row in rows if all(row["parameters"].get(key) == value for key, value in zip(others, fixed, strict=True))]
        if own:
            caption = ", ".join([heading(column), *(f"{key}={value}" for key, value in zip(others, fixed, strict=True))])
            tables.append(heat_map(results, (down, across), own, name, caption, rows))
    return "".join(tables)


def heat_map(results: Mapping[str, Any], keys: tuple[str, str], own: Rows, name: str, caption: str, rows: Rows) -> str:
    """One table of it; colours are those of all ``rows``."""
    down, across = keys
    cells = {(row["parameters"].get(down), row["parameters"].get(across)): row["figures"][name] for row in own}
    shades = shares(results, name, rows)
    columns = values_of(own, across)
    head = "".join(f'<th scope="col">{escape(str(value))}</th>' for value in columns)
    lines = []
    for value in values_of(own, down):
        figures = [cells.get((value, each)) for each in columns]
        line = "".join("<td></td>" if figure is None else shaded(results["columns"][name], figure, shades) for figure in figures)
        lines.append(f'<tr><th scope="row">{escape("" if value is None else str(value))}</th>{line}</tr>')
    corner, title = escape(" \\ ".join(filter(None, (down, across)))), escape(caption)
    header = f'<caption>{title}</caption><thead><tr><th scope="col">{corner}</th>{head}</tr></thead>'
    content = f'<table class="heat">{header}<tbody>{"".join(lines)}</tbody></table>'
    return f'<div class="wide" tabindex="0" role="region" aria-label="{title}">{content}</div>'


def shaded(column: Mapping[str, Any], figure: Mapping[str, Any], shades: Mapping[float, float]) -> str:
    """A cell, the darker the better."""
    value = figure["value"]
    share = "" if value is None else f' style="--share: {100 * shades[value]:.0f}%"'
    return f"<td{share}>{escape(number(column, figure))}</td>"


def shares(results: Mapping[str, Any], name: str, rows: Rows) -> dict[float, float]:
    """How good each value is among all, from 0 to 1: near to human texts, high or low, as the column says."""
    values = [row["figures"][name]["value"] for row in rows if row["figures"][name]["value"] is not None]
    human = target(results, name)
    sign = -1 if results["columns"][name]["better"] == "lower" else 1
    good = {value: sign * value if human is None else -abs(value - human) for value in values}
    low, high = min(good.values(), default=0), max(good.values(), default=0)
    return {value: (each - low) / (high - low) if high > low else 0.0 for value, each in good.items()}
