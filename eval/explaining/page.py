"""The page of an explanation: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from counterpoint.eval.report.shell import FOLDER as REPORT
from counterpoint.eval.report.shell import called, filled, page

FOLDER = Path(__file__).parent


def html_page(record: Mapping[str, Any]) -> str:
    """The page. What was generated is in it as data or escaped; its own script is the only one that a browser runs."""
    settings = ", ".join(f"{name} = {value}" for name, value in record["parameters"].items())
    return page(
        f"{record['decoder']} on “{shortened(record['prompt'])}”",
        "; ".join(each for each in (settings, called(record["model"]), f"seed {record['seed']}") if each),
        filled(FOLDER / "page.html", text=escape(record["prompt"] + record["text"])),
        {**record, "model": called(record["model"])},
        styles=[folder / "style.css" for folder in (REPORT, FOLDER)],
        scripts=[FOLDER / "script.js"],
    )


def shortened(text: str, most: int = 60) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
