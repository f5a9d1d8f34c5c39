"""Pictures of the page as SVG that takes the page's colours and fonts, each with its data as a table."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from html import escape

from counterpoint.eval.report.labels import Box, Label, nearest, place
from counterpoint.eval.report.tradeoffs import Panel, Point

WIDTH, HEIGHT = 480.0, 380.0
FRAME = Box(52.0, 12.0, WIDTH - 8, HEIGHT - 46)
MIDDLE = (FRAME.top + FRAME.bottom) / 2
CHARACTER, LINE = 7.0, 15.0
"""Width and height that a character of a label takes at most."""
Scale = Callable[[float], float]


def drawn_panel(panel: Panel) -> str:
    """A panel: points with bars and names, human texts as a star or a line, and the data."""
    human_x, human_y = panel.human
    x = scale(
        [bound for point in panel.points for bound in bounds(point.x, point.across)] + known(human_x), FRAME.left, FRAME.right
    )
    y = scale([bound for point in panel.points for bound in bounds(point.y, point.up)] + known(human_y), FRAME.bottom, FRAME.top)
    shown = [(point.name, x[1](point.x), y[1](point.y)) for point in panel.points]
    star = [("human", x[1](human_x), y[1](human_y))] if human_x is not None and human_y is not None else []
    named = [*shown, *star]
    labels = place([(across, up) for _, across, up in named], [(CHARACTER * len(name), LINE) for name, _, _ in named], FRAME)
    parts = [*axes(panel, x, y), *human_lines(panel, x[1], y[1])]
    parts += [bars(point, x[1], y[1]) for point in panel.points]
    parts += [leader(label, across, up) for label, (_, across, up) in zip(labels, named, strict=True)]
    parts += [
        f'<circle cx="{across:.1f}" cy="{up:.1f}" r="4.5"><title>{escape(name)}</title></circle>' for name, across, up in shown
    ]
    parts += [f'<path class="human" d="{star_path(across, up)}"/>' for _, across, up in star]
    parts += [text(label, name) for label, (name, _, _) in zip(labels, named, strict=True)]
    words = f"{panel.y_title} against {panel.x_title}; the table below the picture has the figures"
    return svg(words, "".join(parts), WIDTH, HEIGHT) + data_table(
        ["decoder", panel.x_title, panel.y_title],
        [[point.label, f"{point.x:.4g}", f"{point.y:.4g}"] for point in panel.points]
        + [["human", *("" if value is None else f"{value:.4g}" for value in panel.human)]] * (panel.human != (None, None)),
    )


def svg(words: str, inner: str, width: float, height: float) -> str:
    """A picture that says in words what it shows."""
    return f'<svg role="img" aria-label="{escape(words)}" viewBox="0 0 {width:g} {height:g}" class="drawn">{inner}</svg>'


def data_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """What a picture shows, as a table that opens."""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in header)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(each)}</td>" for each in others)}</tr>'
        for first, *others in rows
    )
    return (
        '<details class="data"><summary>The figures of this picture</summary><div class="wide" tabindex="0" role="region" '
        f'aria-label="Figures of the picture"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>'
    )


def picture(place: int, words: str, document: str, data: str) -> str:
    """An SVG document by matplotlib as part of the page, in its colours, its names apart from those of other pictures."""
    inner = re.sub(r"<metadata>.*?</metadata>", "", document[document.index("<svg") :], flags=re.DOTALL)
    inner = re.sub(r'(\bid="|url\(#|href="#)', rf"\1picture{place}-", inner)
    for colour, by in (("#000000", "currentColor"), ("#dddddd", "var(--line)"), ("fill: #ffffff", "fill: none")):
        inner = inner.replace(colour, by)
    inner = inner.replace("<svg", f'<svg role="img" aria-label="{escape(words)}"', 1)
    return f"<figure>\n{inner}\n<figcaption>{data}</figcaption>\n</figure>"


def known(value: float | None) -> list[float]:
    """A value, if there is one."""
    return [] if value is None else [value]


def bounds(value: float, reach: tuple[float, float]) -> tuple[float, float]:
    """Where a bar ends."""
    return value - reach[0], value + reach[1]


def scale(values: Sequence[float], begin: float, end: float) -> tuple[list[float], Scale]:
    """Round numbers over the range of the values, and what turns a value into a place between ``begin`` and ``end``."""
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or abs(high) * 0.1 or 1.0
    low, high = low - room, high + room
    return ticks(low, high), lambda value: begin + (value - low) / (high - low) * (end - begin)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Up to about ``count`` round numbers in a range.

    Example:
        >>> from counterpoint.eval.report.drawing import ticks
        >>> ticks(0.13, 1.02)
        [0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [round(index * step, 12) for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def axes(panel: Panel, x: tuple[list[float], Scale], y: tuple[list[float], Scale]) -> list[str]:
    """Grid, numbers and titles."""
    across = [f'<path class="grid" d="M{x[1](each):.1f} {FRAME.top}V{FRAME.bottom}"/>' for each in x[0]]
    up = [f'<path class="grid" d="M{FRAME.left} {y[1](each):.1f}H{FRAME.right}"/>' for each in y[0]]
    numbers = [
        f'<text class="tick" text-anchor="middle" x="{x[1](each):.1f}" y="{FRAME.bottom + 16}">{each:g}</text>' for each in x[0]
    ]
    numbers += [
        f'<text class="tick" text-anchor="end" x="{FRAME.left - 6}" y="{y[1](each) + 4:.1f}">{each:g}</text>' for each in y[0]
    ]
    places = (f'x="{(FRAME.left + FRAME.right) / 2:.0f}" y="{HEIGHT - 8}"', f'transform="translate(13 {MIDDLE:.0f}) rotate(-90)"')
    titles = [
        f'<text class="axis" text-anchor="middle" {place}>{escape(title)}</text>'
        for place, title in zip(places, (panel.x_title, panel.y_title), strict=True)
    ]
    return [*across, *up, *numbers, *titles]


def human_lines(panel: Panel, x: Scale, y: Scale) -> list[str]:
    """A line where human texts have one of the two figures only."""
    across, up = panel.human
    if across is not None and up is None:
        return [f'<path class="human" d="M{x(across):.1f} {FRAME.top}V{FRAME.bottom}"><title>human</title></path>']
    if up is not None and across is None:
        line = f'<path class="human" d="M{FRAME.left} {y(up):.1f}H{FRAME.right}"><title>human</title></path>'
        return [line, f'<text class="axis" x="{FRAME.left + 4}" y="{y(up) - 4:.1f}">human</text>']
    return []


def bars(point: Point, x: Scale, y: Scale) -> str:
    """How far a point's figures may be off."""
    (left, right), (low, high) = bounds(point.x, point.across), bounds(point.y, point.up)
    return f'<path class="bar" d="M{x(left):.1f} {y(point.y):.1f}H{x(right):.1f}M{x(point.x):.1f} {y(low):.1f}V{y(high):.1f}"/>'


def leader(label: Label | None, x: float, y: float) -> str:
    """A line from a point to a label that is not beside it."""
    if label is None or not label.led:
        return ""
    end_x, end_y = nearest(label.box, x, y)
    return f'<path class="leader" d="M{x:.1f} {y:.1f}L{end_x:.1f} {end_y:.1f}"/>'


def text(label: Label | None, name: str) -> str:
    """A label in its place, which its letters fill from whichever side is nearer to the point."""
    if label is None:
        return ""
    middle = (label.box.left + label.box.right) / 2
    return f'<text class="label" text-anchor="middle" x="{middle:.1f}" y="{label.box.bottom - 4:.1f}">{escape(name)}</text>'


def star_path(x: float, y: float) -> str:
    """A star of five points."""
    corners = [(8 if turn % 2 == 0 else 3.4, math.tau * turn / 10 - math.pi / 2) for turn in range(10)]
    return (
        "M" + "L".join(f"{x + radius * math.cos(angle):.1f} {y + radius * math.sin(angle):.1f}" for radius, angle in corners) + "Z"
    )
