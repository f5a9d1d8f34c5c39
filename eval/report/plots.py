"""Pictures of a benchmark: what texts are worth against how diverse they are and how fast they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which the colour-blind tell apart, but for the yellow, which is too light for a line."""
MARKERS = "osD^vPX<>ph*"
QUALITY = ("mauve", "embedding_coherence", "coherence")
"""What stands for quality: the first of them that was measured, MAUVE only from enough texts."""
DIVERSITY, SPEED = "diversity", "relative_speed"
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
        The SVG files, by what they show.

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
        for name, (words, draw) in PICTURES.items():
            figure = Figure(layout="constrained")  # of its own, not pyplot's: no display is looked for
            if draw(figure, results):
                for kind in ("png", "svg"):
                    path = directory / f"{name}.{kind}"
                    figure.savefig(path, dpi=200, metadata={"Date": None} if kind == "svg" else None)
                paths[words] = path
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
    quality = next((name for name in QUALITY if measured(results, name) and not warned(results, name)), None)
    against = [name for name in (DIVERSITY, SPEED) if measured(results, name)]
    if quality is None or not against:
        return False
    figure.set_size_inches(4.6 * len(against) + 2.4, 4.2)
    panels = figure.subplots(1, len(against), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, against, strict=True):
        for row in results["rows"]:
            point(axes, row, name, quality, **styles(results)[row["label"]], label=escaped(row["name"]), markersize=8)
        if results["human"]:
            human(axes, results["human"], name, quality)
        axes.set_xlabel(axis_title(results, name))
    panels[0].set_ylabel(axis_title(results, quality))
    if SPEED in against:
        panels[-1].axvline(1, color="#888888", linewidth=0.8, linestyle=":")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return True


def draw_divergence(figure: Figure, results: Mapping[str, Any]) -> bool:
    """MAUVE's divergence curves, of which it is the area; False if there are none."""
    curves = {row["label"]: curve_of(row["figures"].get("mauve", {}).get("details", [])) for row in results["rows"]}
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


def measured(results: Mapping[str, Any], name: str) -> bool:
    """Whether any decoder has a figure in this column."""
    return any(row["figures"].get(name, {}).get("value") is not None for row in results["rows"])


def warned(results: Mapping[str, Any], name: str) -> bool:
    """Whether the figures of this column mean little."""
    return any(detail["warning"] for row in results["rows"] for detail in row["figures"][name].get("details", []))


def point(axes: Axes, row: Mapping[str, Any], across: str, up: str, **style: Any) -> None:
    """A decoder where its two figures are, with bars as far as their intervals or standard errors go."""
    x, y = row["figures"][across], row["figures"][up]
    if x["value"] is None or y["value"] is None:
        return
    axes.errorbar(x["value"], y["value"], xerr=bar(x), yerr=bar(y), fmt="none", ecolor=style["color"], elinewidth=1, capsize=2)
    axes.plot(x["value"], y["value"], linestyle="none", markeredgecolor="white", **style)


def bar(figure: Mapping[str, Any]) -> list[list[float]] | None:
    """How far a bar goes to either side."""
    if figure.get("interval"):
        low, high = figure["interval"]
        return [[max(0.0, figure["value"] - low)], [max(0.0, high - figure["value"])]]
    error = figure["standard_error"]
    return None if error is None else [[error], [error]]


def human(axes: Axes, row: Mapping[str, Any], across: str, up: str) -> None:
    """Where human texts are: a star, or a line if they have one of the two figures only."""
    x, y = (row["figures"][name]["value"] for name in (across, up))
    style: dict[str, Any] = {"color": "#555555", "label": "human"}
    if x is not None and y is not None:
        axes.plot(x, y, marker="*", markersize=14, linestyle="none", zorder=1, **style)
    elif y is not None:
        axes.axhline(y, linestyle="--", linewidth=1, zorder=1, **style)
    elif x is not None:
        axes.axvline(x, linestyle="--", linewidth=1, zorder=1, **style)


def axis_title(results: Mapping[str, Any], name: str) -> str:
    """A column's title, and what it is measured with."""
    if name == SPEED:
        return "tokens a second, relative to greedy search"
    settings = ", ".join(str(value) for value in results["columns"][name]["settings"].values())
    return escaped(f"{results['columns'][name]['title']} ({settings})" if settings else results["columns"][name]["title"])


def escaped(text: str) -> str:
    """Text that is not taken for formulas."""
    return text.replace("$", r"\$")


PICTURES = {
    "tradeoffs": ("quality against diversity and against speed, a point for each decoder", draw_tradeoffs),
    "divergence": ("MAUVE's divergence curve of each decoder", draw_divergence),
}
"""What each shows, in words, and how it is drawn."""
