"""Where a page's figures come from, and the same table in other formats to take away."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from counterpoint.eval.report.formats import as_csv, as_json, as_latex


def provenance(results: Mapping[str, Any]) -> str:
    """The command, its date, and the releases that wrote and scored."""
    config = results["config"]
    facts = [
        ("Command", f"<code>{escape(without_folders(config.get('command', '')))}</code>" if config.get("command") else ""),
        ("Begun", escape(config.get("date", ""))),
        ("Written with", listed(config.get("versions", {}))),
        ("Scored with", listed(results["scored_with"])),
        ("Machine", listed(config.get("environment", {}))),
    ]
    return "\n".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts if text)


def without_folders(command: str) -> str:
    """A command whose absolute paths are their last parts, since a page is shown to strangers.

    Example:
        >>> from counterpoint.eval.report.provenance import without_folders
        >>> without_folders("counterpoint bench --file /home/me/prompts.jsonl --model org/model")
        'counterpoint bench --file prompts.jsonl --model org/model'
    """
    return re.sub(r"(?<![^\s=:'\"\[])/(?:[^\s/,\]]+/)*(?=[^\s/,\]])", "", command)


def listed(facts: Mapping[str, Any]) -> str:
    """Names with their values."""
    return escape(", ".join(f"{name} {value}" for name, value in facts.items()))


def downloads(results: Mapping[str, Any]) -> str:
    """Links that hold the files themselves."""
    files = {
        "CSV": ("table.csv", "text/csv", as_csv(results)),
        "JSON": ("table.json", "application/json", as_json(results)),
        "LaTeX": ("table.tex", "text/x-tex", as_latex(results)),
    }
    links = [
        f'<a download="{name}" href="data:{kind};base64,{base64.b64encode(content.encode()).decode()}">{title}</a>'
        for title, (name, kind, content) in files.items()
    ]
    return "The table as " + ", ".join(links)
