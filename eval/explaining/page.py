"""The page of an explanation: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from counterpoint.eval.report.html import FOLDER as REPORT
from counterpoint.eval.report.html import as_data, called, policy_hash

FOLDER = Path(__file__).parent


def html_page(record: Mapping[str, Any]) -> str:
    """The page. What was generated is in it as data or escaped; its own script is the only one that a browser runs."""
    script = (FOLDER / "script.js").read_text(encoding="utf-8")
    settings = ", ".join(f"{name} = {value}" for name, value in record["parameters"].items())
    return Template((FOLDER / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(f"{record['decoder']} on “{shortened(record['prompt'])}”"),
        subtitle=escape("; ".join(each for each in (settings, called(record["model"]), f"seed {record['seed']}") if each)),
        text=escape(record["prompt"] + record["text"]),
        style="\n".join((folder / "style.css").read_text(encoding="utf-8") for folder in (REPORT, FOLDER)),
        script=script,
        script_hash=policy_hash(script),
        data=as_data({**record, "model": called(record["model"])}),
    )


def shortened(text: str, most: int = 60) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
