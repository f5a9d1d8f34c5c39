"""Results of several benchmarks in one table: figures stand in one column only where they compare."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from counterpoint.eval.report.figures import called as row_name
from counterpoint.eval.report.figures import code, heading, number, shown_columns
from counterpoint.eval.report.table import table

Runs = Mapping[str, Mapping[str, Any]]
"""Results by what the runs are called."""


def comparison(runs: Runs) -> str:
    """A Markdown table of the decoders of all runs, and how the runs differ.

    A figure that depends on settings, such as MAUVE on its protocol, its featuriser and the number of texts, has a column for each.
    """
    columns: dict[tuple[str, str], str] = {}
    for results in runs.values():
        for name in shown_columns(results):
            if not results["columns"][name]["detail"]:
                columns.setdefault((name, settings(results, name)), heading(results["columns"][name]))
    titles = [titled(title, *key, columns) for key, title in columns.items()]
    rows = [
        [code(called), row_name(row) if "planned" in row else code(row["name"]), *(cell(results, row, *key) for key in columns)]
        for called, results in runs.items()
        for row in [*results["rows"], *([results["human"]] if results["human"] else [])]
    ]
    lines = table(["run", "decoder", *titles], rows, names=2)
    return "\n".join([*lines, "", *(f"- {note}" for note in differences(runs))]) + "\n"


def settings(results: Mapping[str, Any], name: str) -> str:
    """What the figures of a column depend on besides the texts, as a name."""
    found = dict(results["columns"][name]["settings"])
    if name == "mauve":
        details = [detail for row in results["rows"] for detail in row["figures"][name].get("details", [])]
        found["texts"] = " or ".join(map(str, sorted({detail["n"] for detail in details})))
    return json.dumps(found, sort_keys=True)


def titled(title: str, name: str, known: str, columns: Mapping[tuple[str, str], str]) -> str:
    """A column's title, with its settings where the same figure has columns of others."""
    if sum(other == name for other, _ in columns) < 2:
        return title
    return f"{title} ({', '.join(f'{key} {value}' for key, value in json.loads(known).items())})"


def cell(results: Mapping[str, Any], row: Mapping[str, Any], name: str, known: str) -> str:
    """A figure in the column of its settings, nothing in those of others."""
    if name not in row["figures"] or settings(results, name) != known:
        return ""
    return number(results["columns"][name], row["figures"][name])


def differences(runs: Runs) -> list[str]:
    """In what the runs differ, so that nobody takes it for a difference between decoders."""
    facts = {called: {"model": results["config"]["model"], **results["config"]["run"]} for called, results in runs.items()}
    names = dict.fromkeys(name for each in facts.values() for name in each)
    found = []
    for name in names:
        values = {called: each.get(name) for called, each in facts.items()}
        if len({json.dumps(value) for value in values.values()}) > 1:
            found.append(f"{name} differs: {', '.join(f'{code(called)} {code(str(value))}' for called, value in values.items())}.")
    return [*found, "Tests against a run's first decoder are in its own table."]


def names_of(directories: Sequence[str]) -> list[str]:
    """Directories by their last parts that differ.

    Example:
        >>> from counterpoint.eval.bench.compare import names_of
        >>> names_of(["runs/small/bench", "runs/large/bench"])
        ['small/bench', 'large/bench']
    """
    parts = [each.rstrip("/").split("/") for each in directories]
    length = next(n for n in range(1, max(map(len, parts)) + 1) if len({tuple(each[-n:]) for each in parts}) == len({*directories}))
    return ["/".join(each[-length:]) for each in parts]
