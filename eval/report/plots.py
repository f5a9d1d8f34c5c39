"""Pictures of a benchmark: what texts are worth against how diverse they are and how fast they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from counterpoint.eval.report.figures import means_little
from counterpoint.eval.report.labels import Box, nearest, place
from counterpoint.eval.report.tradeoffs import SPEED, Panel, Point, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which the colour-blind tell apart, but for the yellow, which is too light for a line."""
MARKERS = "osD^vPX<>ph*"
CHARACTER, LINE = 4.9, 10.0
"""Points of a label's width for each of its characters, and of its height."""
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "counterpoint",  # the same figure is the same file
}


def plot(results: Mapping[str, Any], directory: Path) -> dict[str, Path]:
    """Draw what the figures allow, each picture as PNG and as SVG.

    Args:
        results: What :func:`~counterpoint.eval.bench.results.score_directory` gives.
        directory: Where the files go.

    Returns:
        The SVG files, by their names.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install counterpoint[plots]") from error
    paths = {}
    with mpl.rc_context(STYLE):
        for name, draw in PICTURES.items():
            figure = Figure(layout="constrained")  # of its own, not pyplot's: no display is looked for
            if draw(figure, results):
                for kind in KINDS:
                    path = directory / f"{name}.{kind}"
                    figure.savefig(path, dpi=200, metadata={"Date": None} if kind == "svg" else None)
                paths[name] = path
    return paths


def styles(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """For every row a colour and a marker; no two rows share both, and none of the first seven a colour."""
    labels = [row["label"] for row in results["rows"]]
    return {
        label: {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
        for place, label in enumerate(labels)
    }


def draw_tradeoffs(figure: Figure, results: Mapping[str, Any]) -> bool:
    """Quality against diversity and, beside it, against speed; False if too little was measured."""
    found = panels(results)
    if not found:
        return False
    figure.set_size_inches(5.4 * len(found), 4.4)
    drawn = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for axes, panel in zip(drawn, found, strict=True):
        for point in panel.points:
            draw_point(axes, point, **styles(results)[point.label], markersize=8)
        human(axes, panel.human)
        axes.set_xlabel(escaped(panel.x_title))
        axes.margins(0.12)
        if panel.across == SPEED:
            axes.axvline(1, color="#888888", linewidth=0.8, linestyle=":")
    drawn[0].set_ylabel(escaped(found[0].y_title))
    figure.draw_without_rendering()  # which lays the axes out, so that labels find their room
    figure.set_layout_engine("none")
    for axes, panel in zip(drawn, found, strict=True):
        draw_labels(axes, panel)
    return True


def draw_point(axes: Axes, point: Point, **style: Any) -> None:
    """A decoder where its two figures are, with bars as far as their intervals or standard errors go."""
    across, up = ([[low], [high]] if low or high else None for low, high in (point.across, point.up))
    axes.errorbar(point.x, point.y, xerr=across, yerr=up, fmt="none", ecolor=style["color"], elinewidth=1, capsize=2)
    axes.plot(point.x, point.y, linestyle="none", markeredgecolor="white", **style)


def draw_labels(axes: Axes, panel: Panel) -> None:
    """Names beside the points, with lines to those that found room only farther off."""
    x, y = panel.human
    points = [(point.name, point.x, point.y) for point in panel.points]
    points += [("human", x, y)] if x is not None and y is not None else []
    scale = 72 / axes.figure.dpi  # pixels to points, in which letters are measured
    places = [tuple((scale * axes.transData.transform((x, y))).tolist()) for _, x, y in points]
    frame = axes.get_window_extent()
    box = Box(*(float(scale * edge) for edge in (frame.x0, frame.y0, frame.x1, frame.y1)))
    sizes = [(CHARACTER * len(name), LINE) for name, _, _ in points]
    for (name, _, _), (across, up), label in zip(points, places, place(places, sizes, box), strict=True):
        if label is not None:
            middle = (label.box.left + label.box.right) / 2 - across, (label.box.top + label.box.bottom) / 2 - up
            end_x, end_y = nearest(label.box, across, up)
            style: dict[str, Any] = {"xycoords": "figure points", "textcoords": "offset points", "annotation_clip": False}
            axes.annotate(escaped(name), (across, up), middle, ha="center", va="center", fontsize=8, **style)
            if label.led:
                line = {"arrowstyle": "-", "color": "#888888", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
                axes.annotate("", (across, up), (end_x - across, end_y - up), arrowprops=line, **style)


def draw_divergence(figure: Figure, results: Mapping[str, Any]) -> bool:
    """MAUVE's divergence curves, of which it is the area; False if there are none that mean anything."""
    figures = {row["label"]: row["figures"].get("mauve", {}) for row in results["rows"]}
    curves = {label: [] if means_little(figure) else curve_of(figure.get("details", [])) for label, figure in figures.items()}
    if not any(curves.values()):
        return False
    figure.set_size_inches(8.4, 4.8)
    axes = figure.subplots()
    for row in results["rows"]:
        if curve := curves[row["label"]]:
            style = styles(results)[row["label"]]
            label = f"{escaped(row['name'])}  {row['figures']['mauve']['value']:.3f}"
            axes.plot(*zip(*curve, strict=True), **style, label=label, markersize=5, markevery=4, linewidth=1.4)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
    axes.set(xlabel="exp(-5 KL(model || mixture))", ylabel="exp(-5 KL(human || mixture))")
    figure.legend(loc="outside right upper", frameon=False, title="MAUVE, the area below", alignment="left")
    return True


def curve_of(details: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """The mean of the seeds' curves, point by point."""
    curves = [detail["curve"] for detail in details]
    return [(fmean(x for x, _ in points), fmean(y for _, y in points)) for points in zip(*curves, strict=True)]


def human(axes: Axes, figures: tuple[float | None, float | None]) -> None:
    """Where human texts are: a star, or a line if they have one of the two figures only."""
    x, y = figures
    style: dict[str, Any] = {"color": "#555555"}
    if x is not None and y is not None:
        axes.plot(x, y, marker="*", markersize=14, linestyle="none", zorder=1, **style)
    elif y is not None:
        axes.axhline(y, linestyle="--", linewidth=1, zorder=1, **style)
    elif x is not None:
        axes.axvline(x, linestyle="--", linewidth=1, zorder=1, **style)


def escaped(text: str) -> str:
    """Text that is not taken for formulas."""
    return text.replace("$", r"\$")


DIVERGENCE = "MAUVE's divergence curve of each decoder"
KINDS = ("png", "svg")
PICTURES = {"tradeoffs": draw_tradeoffs, "divergence": draw_divergence}
"""How each is drawn."""
