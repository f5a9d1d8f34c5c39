"""What the picture of trade-offs shows: quality against diversity and against speed, a point for each decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from counterpoint.eval.report.figures import means_little
from counterpoint.eval.report.shell import called

QUALITY = ("mauve", "embedding_coherence", "coherence")
"""What stands for quality: the first of them that was measured, MAUVE only from enough texts."""
DIVERSITY, SPEED = "diversity", "relative_speed"
LONGEST = 26
"""Characters of a label."""


@dataclass(frozen=True)
class Point:
    """A decoder: its two figures, and how far either may be off to each side."""

    label: str
    name: str
    x: float
    y: float
    across: tuple[float, float]
    up: tuple[float, float]


@dataclass(frozen=True)
class Panel:
    """Points with their axes."""

    across: str
    up: str
    x_title: str
    y_title: str
    points: tuple[Point, ...]
    human: tuple[float | None, float | None]
    """The same two figures of human texts."""


def panels(results: Mapping[str, Any]) -> list[Panel]:
    """A panel for diversity and one for speed, as far as they and any quality were measured."""
    up = next((name for name in QUALITY if measured(results, name) and not warned(results, name)), None)
    if up is None:
        return []
    return [panel(results, across, up) for across in (DIVERSITY, SPEED) if measured(results, across)]


def panel(results: Mapping[str, Any], across: str, up: str) -> Panel:
    """The decoders that have both figures."""
    points = []
    for row in results["rows"]:
        x, y = row["figures"][across], row["figures"][up]
        if x["value"] is not None and y["value"] is not None:
            points.append(Point(row["label"], short(results, row), x["value"], y["value"], reach(x), reach(y)))
    figures = results["human"]["figures"] if results["human"] else {}
    human = tuple(figures.get(name, {}).get("value") for name in (across, up))
    return Panel(across, up, axis_title(results, across), axis_title(results, up), tuple(points), (human[0], human[1]))


def short(results: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """A decoder's name, or the values alone of those that ran with several, where all would be too long."""
    name: str = row["name"]
    _, colon, pairs = name.partition(f"{row['decoder']}:")
    values = ", ".join(pair.partition("=")[2] for pair in pairs.split(","))
    if len(name) <= LONGEST or not colon or not values:
        return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
    return values if len(values) <= LONGEST else values[: LONGEST - 1] + "…"


def measured(results: Mapping[str, Any], name: str) -> bool:
    """Whether any decoder has a figure in this column."""
    return any(row["figures"].get(name, {}).get("value") is not None for row in results["rows"])


def warned(results: Mapping[str, Any], name: str) -> bool:
    """Whether any figure of this column means little."""
    return any(means_little(row["figures"][name]) for row in results["rows"])


def reach(figure: Mapping[str, Any]) -> tuple[float, float]:
    """How far a figure's interval, or its standard error, goes below and above it."""
    if figure.get("interval"):
        low, high = figure["interval"]
        return max(0.0, figure["value"] - low), max(0.0, high - figure["value"])
    error = figure["standard_error"] or 0.0
    return error, error


def axis_title(results: Mapping[str, Any], name: str) -> str:
    """A column's title, and what it is measured with."""
    if name == SPEED:
        return "tokens a second, relative to greedy search"
    settings = ", ".join(called(str(value)) for value in results["columns"][name]["settings"].values())
    return f"{results['columns'][name]['title']} ({settings})" if settings else str(results["columns"][name]["title"])
