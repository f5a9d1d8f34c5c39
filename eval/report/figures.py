"""Figures and names as they are written in tables, notes and pages, and what may be concluded from a figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from counterpoint.eval.metrics.significance import LEVEL

MARK = "†"  # an asterisk would be markup
"""Marks figures that differ from the first decoder's."""
LITTLE = "‡"
"""Marks figures that mean little."""
ARROWS = {"higher": "↑", "lower": "↓", "human": ""}


def code(text: str) -> str:
    """Text that Markdown is to leave alone."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"


def called(row: Mapping[str, Any]) -> str:
    """A decoder by its name, and that it is partial."""
    return code(row["name"]) + (" (partial)" if partial(row) else "")


def partial(row: Mapping[str, Any]) -> str:
    """How many texts of how many a row is of, "" if of all."""
    return f"{row['texts']} of {row['planned']} texts" if row["texts"] < row["planned"] else ""


def shown_columns(results: Mapping[str, Any]) -> list[str]:
    """The columns in which any decoder has a figure."""
    return [name for name in results["columns"] if any(row["figures"][name]["value"] is not None for row in results["rows"])]


def heading(column: Mapping[str, Any]) -> str:
    """A column's title, with which values are good where more or less is."""
    return f"{column['title']} {ARROWS[column['better']]}".rstrip()


def number(column: Mapping[str, Any], figure: Mapping[str, Any]) -> str:
    """A figure, and half of its interval over prompts after ±, or its standard error in parentheses."""
    if figure["value"] is None:
        return "n/a"
    scale, digits = 100 if column["unit"] == "%" else 1, column["digits"]
    text = f"{scale * figure['value']:.{digits}f}{column['unit']}"
    if figure.get("interval"):
        low, high = figure["interval"]
        return f"{text} ± {scale * (high - low) / 2:.{digits}f}"
    error = figure["standard_error"]
    return text if error is None else f"{text} ({scale * error:.{digits}f})"


def differs(figure: Mapping[str, Any]) -> bool:
    """Whether a test against the first decoder says so, all tests of the table considered."""
    return bool(figure.get("p_adjusted", 1) <= LEVEL)


def means_little(figure: Mapping[str, Any]) -> bool:
    """Whether a figure is of fewer texts than it needs: it is then shown as such, and nothing is concluded from it."""
    return any(detail.get("warning") for detail in figure.get("details", []))


def is_best(figure: Mapping[str, Any]) -> bool:
    """Whether a figure is the best, or no test tells it from that."""
    return bool(figure.get("best")) and not means_little(figure)


def marks(figure: Mapping[str, Any]) -> str:
    """What stands behind a figure."""
    return (MARK if differs(figure) else "") + (LITTLE if means_little(figure) else "")
