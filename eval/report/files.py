"""What people read of a benchmark, written from its results: table, pictures and page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from counterpoint.eval.bench.per_text import read_per_text
from counterpoint.eval.bench.records import read_generations
from counterpoint.eval.journal import write_whole, writing
from counterpoint.eval.report.formats import FORMATS
from counterpoint.eval.report.html import html_report
from counterpoint.eval.report.plots import KINDS, PICTURES, plot


def write_files(directory: Path, results: Mapping[str, Any], formats: Sequence[str] = ("markdown",)) -> None:
    """Write the table in these formats, the pictures if matplotlib is installed, and ``report.html``.

    Of what an earlier call wrote, tables in other formats are written anew, and pictures that cannot be drawn any more are removed.
    """
    for name, (file, written) in FORMATS.items():
        if name in formats or (directory / file).exists():
            write_whole(directory / file, written(results))
    with writing(directory):
        pictures = plot(results, directory) if find_spec("matplotlib") else {}
        for name in PICTURES.keys() - pictures.keys():
            for kind in KINDS:
                (directory / f"{name}.{kind}").unlink(missing_ok=True)
    divergence = pictures["divergence"].read_text("utf-8") if "divergence" in pictures else None
    page = html_report(results, read_generations(directory), read_per_text(directory, results), divergence)
    write_whole(directory / "report.html", page)
