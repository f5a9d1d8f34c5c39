"""What people read of a benchmark, written from its results: table, pictures and page."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from counterpoint.eval.bench.records import read_generations
from counterpoint.eval.journal import write_whole, writing
from counterpoint.eval.report.html import html_report
from counterpoint.eval.report.plots import plot
from counterpoint.eval.report.table import markdown


def write_files(directory: Path, results: Mapping[str, Any]) -> None:
    """Write ``table.md``, the pictures if matplotlib is installed, and ``report.html`` with both."""
    write_whole(directory / "table.md", markdown(results))
    with writing(directory):
        pictures = plot(results, directory) if find_spec("matplotlib") else {}
    page = html_report(results, read_generations(directory), {words: path.read_text("utf-8") for words, path in pictures.items()})
    write_whole(directory / "report.html", page)
