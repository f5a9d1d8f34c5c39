"""What the cards of all trained models have: a table of settings, and the releases that they were made with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def settings_table(record: Mapping[str, Any], names: Sequence[str]) -> str:
    """Settings of a training as a Markdown table.

    Example:
        >>> from counterpoint.eval.training.cards import settings_table
        >>> print(settings_table({"epochs": 3, "targets": ["q_proj", "v_proj"]}, ["epochs", "targets"]))
        | setting | value |
        |---|---|
        | epochs | 3 |
        | targets | q_proj, v_proj |
    """
    rows = [f"| {name} | {shown(record[name])} |" for name in names]
    return "\n".join(["| setting | value |", "|---|---|", *rows])


def shown(value: Any) -> str:
    """A setting's value as the table shows it."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def releases(record: Mapping[str, Any]) -> str:
    """The packages and their releases in a line."""
    return ", ".join(f"{package} {number}" for package, number in record["versions"].items())
