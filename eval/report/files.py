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
from counterpoint.eval.report.plots import plot


def write_files(directory: Path, results: Mapping[str, Any], formats: Sequence[str] = ("markdown",)) -> None:
    """Write the table in these formats, the pictures if matplotlib is installed, and ``report.html``."""
    for name in formats:
        file, written = FORMATS[name]
        write_whole(directory / file, written(results))
    with writing(directory):
        pictures = plot(results, directory) if find_spec("matplotlib") else {}
    divergence = pictures["divergence"].read_text("utf-8") if "divergence" in pictures else None
    page = html_report(results, read_generations(directory), read_per_text(directory, results), divergence)
    write_whole(directory / "report.html", page)
