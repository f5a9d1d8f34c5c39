"""A benchmark as one HTML page: what the tests say, a picture of trade-offs, all figures, and the texts side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from counterpoint.eval.report.drawing import data_table, drawn_panel, picture
from counterpoint.eval.report.figures import means_little
from counterpoint.eval.report.html_table import explanations, html_table
from counterpoint.eval.report.notes import notes
from counterpoint.eval.report.plots import DIVERGENCE, curve_of
from counterpoint.eval.report.provenance import downloads, provenance
from counterpoint.eval.report.shell import FOLDER, called, filled, page
from counterpoint.eval.report.sweeps import drawn_sweeps
from counterpoint.eval.report.texts import texts_data
from counterpoint.eval.report.tradeoffs import panels
from counterpoint.eval.report.verdicts import costs, verdicts

SCRIPTS = ("elements.js", "address.js", "table.js", "marks.js", "order.js", "texts.js")


def html_report(
    results: Mapping[str, Any], records: Sequence[Mapping[str, Any]], per_text: Mapping[str, Any], divergence: str | None
) -> str:
    """The page. Everything that was generated is in it as data or escaped.

    Args:
        results: What :func:`~counterpoint.eval.bench.results.score_directory` gives.
        records: The generations.
        per_text: What :func:`~counterpoint.eval.bench.per_text.read_per_text` gives.
        divergence: MAUVE's curves as an SVG document, if there are any that mean something.
    """
    run = results["config"]
    told = {*verdicts(results), *costs(results)}
    sweeps = drawn_sweeps(results)
    body = filled(
        FOLDER / "page.html",
        verdicts=verdict_list(results),
        tradeoffs=tradeoffs(results),
        table=html_table(results),
        explanations=explanations(results),
        downloads=downloads(results),
        notes="\n".join(f"<li>{with_code(note)}</li>" for note in notes(results) if note not in told),
        sweeps=section("sweeps", "Sweeps", sweeps) if sweeps else "",
        pictures=section("pictures", "Curves of MAUVE", curves(results, divergence)) if divergence else "",
        provenance=provenance(results),
    )
    return page(
        f"Decoders of {called(run['model'])}",
        f"{called(run['prompts'])}, {where(run['run'])}, up to {run['run']['max_new_tokens']} new tokens",
        body,
        texts_data(results, records, per_text),
        styles=[FOLDER / "style.css", FOLDER / "report.css"],
        scripts=[FOLDER / name for name in SCRIPTS],
    )


def verdict_list(results: Mapping[str, Any]) -> str:
    """What the tests say of each metric, and what the best cost."""
    found = verdicts(results)
    if not found:
        found = [
            "No metric has a test that says which decoder is the best: that takes several decoders, and human texts to be near to."
        ]
    lines = []
    for sentence in [*found, *costs(results)]:
        metric, colon, rest = sentence.partition(": ")
        lines.append(
            f"<li><strong>{escape(metric)}</strong>: {with_code(rest)}</li>" if colon else f"<li>{with_code(sentence)}</li>"
        )
    return "\n".join(lines)


def tradeoffs(results: Mapping[str, Any]) -> str:
    """The picture of trade-offs, a panel beside the other where there is room."""
    found = panels(results)
    if not found:
        return "<p>A picture of trade-offs needs coherence or MAUVE, and diversity or speed.</p>"
    long = any(
        point.name != row["name"]
        for each in found
        for point in each.points
        for row in results["rows"]
        if row["label"] == point.label
    )
    bars = "Bars are intervals over prompts or standard errors; the star is human text."
    also = " Of decoders with long names the values alone are shown." if long else ""
    drawn = "\n".join(f'<div class="panel">{drawn_panel(each)}</div>' for each in found)
    return f'<figure><div class="panels">{drawn}</div><figcaption>{bars}{also}</figcaption></figure>'


def curves(results: Mapping[str, Any], divergence: str | None) -> str:
    """MAUVE's divergence curves, with their points."""
    figures = {row["label"]: row["figures"].get("mauve", {}) for row in results["rows"]}
    rows = [
        [label, f"{x:.3f}", f"{y:.3f}"]
        for label, figure in figures.items()
        if not means_little(figure)
        for x, y in curve_of(figure.get("details", []))
    ]
    table = data_table(["decoder", "exp(-5 KL(model || mixture))", "exp(-5 KL(human || mixture))"], rows)
    return picture(0, DIVERGENCE, divergence or "", table)


def section(name: str, title: str, content: str) -> str:
    """A part of the page that not every run has."""
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{title}</h2>\n{content}\n</section>'


def with_code(note: str) -> str:
    """A note of the Markdown table."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(note))


def where(run: Mapping[str, Any]) -> str:
    """The precision of a model in this process, or the server that one is behind."""
    return f"served ({run['server']})" if "server" in run else str(run.get("dtype", "written elsewhere"))
