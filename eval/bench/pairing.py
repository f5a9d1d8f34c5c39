"""Differences between the decoders of several runs, whose texts are paired by their prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from counterpoint.eval.bench.compare import Runs, settings
from counterpoint.eval.bench.per_text import PerText, cell_of, column_of
from counterpoint.eval.bench.statistics import adjust, difference
from counterpoint.eval.report.figures import MARK, called, code, differs, shown_columns
from counterpoint.eval.report.table import table

Difference = dict[str, Any]


def differences_of(runs: Runs, per_text: Mapping[str, PerText]) -> list[Difference]:
    """How each decoder of a later run differs from the first run's of the same choice, or else from that run's first.

    Texts are paired by the words of their prompts, so that runs need not have all of them in common, nor in one order; those of a
    prompt count under all seeds that both have. Only figures of the same settings are compared. P-values are adjusted over all.
    """
    (first, base), *others = runs.items()
    found: list[Difference] = []
    for run, results in others:
        for row in results["rows"]:
            against = next((each for each in base["rows"] if each["label"] == row["label"]), base["rows"][0])
            for name in shown_columns(results):
                if name in base["columns"] and settings(base, name) == settings(results, name):
                    column = column_of(results, name)
                    one, other = cell_of(per_text[first], name, against["label"]), cell_of(per_text[run], name, row["label"])
                    figure = difference(one, other, column)
                    if figure:
                        names = {"run": run, "decoder": called(row), "first_run": first, "first_decoder": called(against)}
                        found.append({**names, "metric": name, "prompts": shared_prompts(one, other), **figure})
    adjust(found)
    return found


def shared_prompts(*cells: Any) -> int:
    """How many prompts have texts in all cells under every seed."""
    return len(set.intersection(*(set(each) for cell in cells for each in cell.indices.values())))


def written_differences(runs: Runs, found: list[Difference]) -> str:
    """The differences of main columns as a Markdown table with their intervals, and what they mean."""
    columns = {name: each for results in runs.values() for name, each in results["columns"].items()}
    names = [name for name in dict.fromkeys(each["metric"] for each in found) if not columns[name]["detail"]]
    if not names:
        return "No figures of texts with the same prompts: nothing is paired.\n"
    rows: dict[tuple[str, ...], dict[str, Difference]] = {}
    for each in found:
        pair = (code(each["run"]), each["decoder"], code(each["first_run"]), each["first_decoder"])
        rows.setdefault(pair, {})[each["metric"]] = each
    cells = [
        [f"{decoder} of {run}", f"{less} of {first}", *(written(columns[name], own.get(name)) for name in names)]
        for (run, decoder, first, less), own in rows.items()
    ]
    lines = table(["decoder", "less", *(columns[name]["title"] for name in names)], cells, names=2)
    prompts = " to ".join(map(str, sorted({min(counts := [each["prompts"] for each in found]), max(counts)})))
    note = (
        f"- Differences of texts of the same prompt, {prompts} prompts; in brackets the 95% bootstrap interval over prompts. "
        f"{MARK}: a paired permutation test over prompts tells the two apart, p ≤ 0.05 after Holm's adjustment for all "
        f"{len(found)} tests, those of columns that are not shown included."
    )
    return "\n".join([*lines, "", note]) + "\n"


def written(column: Mapping[str, Any], found: Difference | None) -> str:
    """A difference with its interval."""
    if found is None:
        return ""
    scale, digits = 100 if column["unit"] == "%" else 1, column["digits"]
    ends = ", ".join(f"{scale * end:+.{digits}f}" for end in found["difference_interval"] or ())
    return f"{scale * found['difference']:+.{digits}f} [{ends}]" + (MARK if differs(found) else "")
