"""Pictures of results: what is drawn, the same every time, and what the colour-blind can tell apart."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench_cases import sentences, write_run, write_speed
from counterpoint.eval import AMATEUR
from counterpoint.eval.bench.metric_models import MetricModels
from counterpoint.eval.bench.results import score_directory
from counterpoint.eval.cli.main import main
from counterpoint.eval.report import plots as bench_plots
from counterpoint.eval.report.plots import plot, styles

LABELS = ("greedy", "beam:a=$1$", "beam:a=$2$")


@pytest.fixture(autouse=True)
def matplotlib() -> Any:
    """The library."""
    return pytest.importorskip("matplotlib", reason="needs the extra plots")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with coherence, diversity and speed of three decoders, and with references."""
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, {label: {0: sentences(6, seed)} for seed, label in enumerate(LABELS)}, sentences(6, 9))
    write_speed(folder, dict(zip(LABELS, (10.0, 12.0, 3.0), strict=True)))
    models = MetricModels(folder, scorer=str(AMATEUR), device="cpu", dtype="float32")
    score_directory(folder, ["diversity", "coherence", "speed"], models)
    return folder


def words_of(path: Path) -> list[str]:
    """The text of an SVG document."""
    return [text for element in ElementTree.parse(path).iter() if (text := (element.text or "").strip())]  # noqa: S314, ours


def test_pictures_on_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "plot", str(folder), "--output-dir", str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "new" / "tradeoffs.svg")]
    assert (tmp_path / "new" / "tradeoffs.png").read_bytes().startswith(b"\x89PNG")
    words = words_of(tmp_path / "new" / "tradeoffs.svg")
    assert {*LABELS, "human", "diversity", f"coherence ({AMATEUR.name})"} <= set(words)  # dollars are no formulas
    first = (tmp_path / "new" / "tradeoffs.svg").read_bytes()
    assert main(["bench", "plot", str(folder), "--output-dir", str(tmp_path)]) == 0
    assert (tmp_path / "tradeoffs.svg").read_bytes() == first


def test_points_are_where_the_figures_are(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from counterpoint.eval.bench.records import read_results

    drawn: dict[str, list[tuple[float, float]]] = {}
    original = bench_plots.draw_point

    def draw_point(axes: Any, point: Any, **style: Any) -> None:
        original(axes, point, **style)
        (x,), (y,) = axes.lines[-1].get_data()
        drawn.setdefault(point.label, []).append((float(x), float(y)))

    monkeypatch.setattr(bench_plots, "draw_point", draw_point)
    results = read_results(folder)
    plot(results, tmp_path)
    for row in results["rows"]:
        diversity, speed, coherence = (row["figures"][name]["value"] for name in ("diversity", "relative_speed", "coherence"))
        assert drawn[row["label"]] == [(diversity, coherence), (speed, coherence)]


def results_with(count: int, **figures: Any) -> dict[str, Any]:
    """Results of decoders that all have the same figures."""
    columns = {name: {"title": name, "settings": {}} for name in figures}
    rows = [{"label": str(place), "name": str(place), "decoder": str(place), "figures": figures} for place in range(count)]
    return {"rows": rows, "columns": columns, "human": None}


def test_decoders_differ_in_colour_and_marker() -> None:
    found = styles(results_with(24))
    assert len({(style["color"], style["marker"]) for style in found.values()}) == 24
    assert len({style["color"] for style in list(found.values())[:7]}) == 7
    assert len({style["marker"] for style in list(found.values())[:12]}) == 12


def mauve(warning: str | None) -> dict[str, Any]:
    """A figure with a curve."""
    curve = [[1.0, 0.0], [0.9, 0.5], [0.5, 0.9], [0.0, 1.0]]
    return {"value": 0.8, "standard_error": 0.01, "details": [{"curve": curve, "warning": warning}] * 2}


def test_mauve_is_quality_if_there_are_enough_texts(tmp_path: Path) -> None:
    other = {"value": 0.5, "standard_error": None, "interval": [0.4, 0.6]}
    pictures = plot(results_with(2, mauve=mauve(None), diversity=other), tmp_path)
    assert [path.name for path in pictures.values()] == ["tradeoffs.svg", "divergence.svg"]
    assert "mauve" in words_of(tmp_path / "tradeoffs.svg")
    assert "0  0.800" in words_of(tmp_path / "divergence.svg")
    pictures = plot(results_with(2, mauve=mauve("too few"), diversity=other, coherence=other), tmp_path)
    assert [*pictures] == ["tradeoffs"]  # no curve of what means little
    assert "mauve" not in words_of(tmp_path / "tradeoffs.svg")
    assert bench_plots.curve_of(mauve(None)["details"])[1] == (0.9, 0.5)


def test_what_cannot_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert plot(results_with(2, zipf={"value": 1.0}), tmp_path) == {}
    write_run(tmp_path, {"greedy": {0: sentences(2, 0)}})
    score_directory(tmp_path, ["length"], MetricModels(tmp_path))
    assert main(["bench", "plot", str(tmp_path)]) == 1
    assert "nothing to draw; score coherence or mauve, and diversity or speed" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install counterpoint\[plots\]"):
        plot(results_with(2), tmp_path)
