"""Sweeps: what a choice with several values stands for, and the heat maps and curves that show its figures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bench_cases import sentences, write_run
from counterpoint.decoders.choosing.sweeps import expanded
from counterpoint.eval.bench.metric_models import MetricModels
from counterpoint.eval.bench.results import score_directory
from counterpoint.eval.cli.main import main
from counterpoint.eval.report.sweeps import drawn_sweeps, shares, sweeps

ALPHAS, KS = (0.2, 0.4, 0.6, 0.8), (4, 8)


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        ("greedy", ["greedy"]),
        ("dola:layers=low|high", ["dola:layers=low", "dola:layers=high"]),
        ("a:b=1|2,c=3|4", ["a:b=1,c=3", "a:b=1,c=4", "a:b=2,c=3", "a:b=2,c=4"]),
        ('a:b="x|y"', ['a:b="x|y"']),
        ("a:b=\"x|y\"|'z,|'", ['a:b="x|y"', "a:b='z,|'"]),
        ('a:b=""|c', ['a:b=""', "a:b=c"]),
        ("a:r=[s:n=1|2]|[t]", ["a:r=[s:n=1]", "a:r=[s:n=2]", "a:r=[t]"]),
        ("a:r=[s:n=[u:v=1|2]]+[t:n=3|4]", [f"a:r=[s:n=[u:v={one}]]+[t:n={two}]" for one in (1, 2) for two in (3, 4)]),
        ("my.code:Mine:beta=1|2", ["my.code:Mine:beta=1", "my.code:Mine:beta=2"]),
        ("a:layers=2+4|3", ["a:layers=2+4", "a:layers=3"]),
    ],
)
def test_what_a_sweep_stands_for(choice: str, found: list[str]) -> None:
    assert expanded(choice) == found


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("a:b=1|", "leaves a value out"),
        ("a:b=|,c=2", "a: b=| leaves a value out"),
        ('a:b="1|2', "leaves a quote open"),
        ("a:b|c", "not key"),
    ],
)
def test_what_is_no_sweep(choice: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        expanded(choice)


def test_sweeps_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "--limit", "1", "--device", "cpu", "--output-dir", str(tmp_path / "run"), "--dry-run", "--decoders"]
    assert main([*words, "greedy", "contrastive_search:penalty_alpha=0.2|0.4,top_k=4|8"]) == 0
    output = capsys.readouterr().out
    for alpha in (0.2, 0.4):
        for k in KS:
            assert f"contrastive_search:penalty_alpha={alpha},top_k={k}" in output
    for wrong, message in (("top_k=4|4", "named twice"), ("top_k=4|x", "top_k=x"), ("top_k=4|", "leaves a value out beside |")):
        assert main([*words, f"contrastive_search:{wrong}"]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "bench.yaml").write_text("decoders: ['dola:layers=low|high']\n", encoding="utf-8")
    assert main([*words[:-1], "--config", str(tmp_path / "bench.yaml")]) == 0
    assert "dola:layers=high" in capsys.readouterr().out
    (tmp_path / "bench.yaml").write_text("decoders: ['dola:alpha=0.1|2']\n", encoding="utf-8")
    assert main([*words[:-1], "--config", str(tmp_path / "bench.yaml")]) == 2


def results_of(folder: Path, settings: list[dict[str, Any]]) -> dict[str, Any]:
    """Scores of a decoder with these settings, whose texts are the longer the later they come."""
    labels = [f"contrastive_search:{','.join(f'{key}={value}' for key, value in each.items())}" for each in settings]
    runs = {label: {0: sentences(4, place, length=12 + place)} for place, label in enumerate(labels)}
    write_run(folder, {"greedy": {0: sentences(4, 99)}, **runs}, sentences(4, 50, length=14))
    results = score_directory(folder, ["length", "diversity"], MetricModels(folder))
    for row, values in zip(results["rows"][1:], settings, strict=True):
        row["parameters"] = values  # as numbers, which the helper's are not
    return results


def test_a_heat_map_has_every_setting_and_the_nearest_to_people_is_darkest(tmp_path: Path) -> None:
    results = results_of(tmp_path, [{"penalty_alpha": alpha, "top_k": k} for alpha in ALPHAS for k in KS])
    ((decoder, (keys, rows)),) = sweeps(results).items()
    assert (decoder, keys, len(rows)) == ("contrastive_search", ["top_k", "penalty_alpha"], 8)
    drawn = drawn_sweeps(results)
    caption, *cells = (
        re.search(r'<table class="heat"><caption>(words)</caption>.*?</table>', drawn, re.DOTALL).group(0).split("<td")
    )  # type: ignore[union-attr]
    assert [re.search(r">([\d.]+)", cell).group(1) for cell in cells] == [  # type: ignore[union-attr]
        f"{12 + place}.0" for place in (0, 2, 4, 6, 1, 3, 5, 7)
    ]
    shades = shares(results, "length", rows)  # human texts are cut to the longest, 14 words at most
    assert max(shades, key=lambda value: shades[value]) == 14.0
    assert min(shades.values()) == 0.0
    assert caption.count('<th scope="col">') == 5


def test_one_parameter_is_a_curve_and_three_are_several_maps(tmp_path: Path) -> None:
    curve = drawn_sweeps(results_of(tmp_path / "one", [{"penalty_alpha": alpha} for alpha in ALPHAS]))
    assert curve.count("<svg") == 2  # words and diversity
    assert curve.count("<circle") == 2 * len(ALPHAS)
    assert '<th scope="row">0.6</th>' in curve  # described by its data
    three = [{"penalty_alpha": alpha, "top_k": k, "n": n} for alpha in ALPHAS for k in KS for n in (1, 2)]
    assert drawn_sweeps(results_of(tmp_path / "three", three)).count('<table class="heat">') == 2 * 2
    words = [{"layers": layers} for layers in ("low", "high", "2+4")]
    drawn = drawn_sweeps(results_of(tmp_path / "words", words))
    assert "<svg" not in drawn
    assert drawn.count('<table class="heat">') == 2
    assert drawn_sweeps(results_of(tmp_path / "two", [{"top_k": 4}, {"top_k": 8}])) == ""  # too few for a sweep
