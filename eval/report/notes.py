"""What a reader of a benchmark's table has to know, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from counterpoint.eval.metrics.significance import LEVEL
from counterpoint.eval.report.figures import LITTLE, MARK, code, partial, shown_columns
from counterpoint.eval.report.verdicts import costs, verdicts


def notes(results: Mapping[str, Any]) -> list[str]:
    """What a reader of the table has to know."""
    statistics, first = results["statistics"], results["rows"][0]
    percent = f"{statistics['confidence']:.0%}"
    counts = sorted({row["texts"] // len(row["seeds"]) for row in results["rows"]})
    seeds = max(len(row["seeds"]) for row in results["rows"])
    found = [
        f"{' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} prompts, "
        f"{seeds} seed{'s' * (seeds > 1)} where a decoder samples. ±: half the {percent} bootstrap "
        "interval over prompts. In parentheses, where texts have no figure by themselves: standard error over seeds or repeats.",
    ]
    if statistics["tests"]:
        found.append(
            f"{MARK}: differs from {code(first['name'])} by a paired permutation test over prompts, p ≤ {LEVEL} after Holm's "
            f"adjustment for all {statistics['tests']} tests. Bold: the best (↑ ↓), or the nearest to human text, and all that no "
            "test tells from it (Holm's adjustment within the column; distances to human text by a bootstrap over prompts, human "
            "texts included)."
        )
    found += [*verdicts(results), *costs(results)]
    if parameters := [code(row["label"]) for row in results["rows"] if row["label"] != row["name"]]:
        found.append(f"Parameters: {', '.join(parameters)}.")
    found += [
        f"{code(row['name'])} is partial: {partial(row)}; the same command continues." for row in results["rows"] if partial(row)
    ]
    found += [f"{code(label)} has no texts yet." for label in results["without_texts"] if label not in failed(results)]
    found += served_by(results["config"]["run"])
    found += chats_of(results["config"]["run"])
    found += made_elsewhere(results)
    found += [f"{column_titles(results, names)}: {text}" for text, names in settings_of(results).items()]
    found += [f"{text}." for text in warnings_of(results)]
    found += [f"{text}." for text in left_out(results)]
    found += [f"{column_titles(results, names)}: {reason}" for reason, names in missing(results).items()]
    if results["human"]:
        found.append("human: the references, each cut to the words of the longest text that a decoder wrote for its prompt.")
    found += [f"{code(failure['label'])} failed: {code(failure['error'])}" for failure in results["failures"]]
    return found


def failed(results: Mapping[str, Any]) -> list[str]:
    """The labels of decoders that failed."""
    return [failure["label"] for failure in results["failures"]]


def served_by(run: Mapping[str, Any]) -> list[str]:
    """That a server wrote the texts, by its own samplers and its own beam search."""
    if "server" not in run:
        return []
    return [f"A server wrote the texts ({code(run['server'])}): samplers and beams are its own, and so is the speed."]


def made_elsewhere(results: Mapping[str, Any]) -> list[str]:
    """Which texts did not come from this benchmark, and what made them."""
    made = {each["label"]: each for each in results["config"]["decoders"] if "made_by" in each}
    return [
        f"{code(row['name'])} was written elsewhere: {code(made[row['label']]['model'])}, {code(made[row['label']]['made_by'])}."
        for row in results["rows"]
        if row["label"] in made
    ]


def chats_of(run: Mapping[str, Any]) -> list[str]:
    """What prompts went through, and what became of thinking."""
    found = []
    if template := run.get("chat_template"):
        system = f", with the system's message {code(run['system'])}" if run["system"] else ""
        found.append(
            f"Prompts are chats in the template of {code(template['source'])} (SHA-256 {template['sha256'][:12]}){system}."
        )
    if run.get("thinking", "keep") != "keep":
        told = {"cut": "cut before anything was measured", "off": "switched off by the template"}
        found.append(f"Thinking was {told[run['thinking']]}.")
    return found


def settings_of(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """Columns that compare only with those of the same settings, by these."""
    found: dict[str, list[str]] = {}
    for name in shown_columns(results):
        if settings := results["columns"][name]["settings"]:
            text = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in settings.items())
            found.setdefault(text, []).append(name)
    return found


def warnings_of(results: Mapping[str, Any]) -> list[str]:
    """Why figures mean little or compare with few others."""
    found: list[str] = []
    for name in shown_columns(results):
        title = results["columns"][name]["title"]
        details = [detail for row in results["rows"] for detail in row["figures"][name].get("details", [])]
        found += [f"{LITTLE}: {detail['warning']}" for detail in details if detail["warning"]][:1]
        if not all(detail["comparable"] for detail in details):
            found.append(f"{title} compares with no published figures: they are by other protocols or featurisers")
        if len(counts := {detail["n"] for detail in details}) > 1:
            found.append(f"{title} is of {min(counts)} to {max(counts)} texts, so that decoders do not quite compare")
    return found


def left_out(results: Mapping[str, Any]) -> list[str]:
    """How many texts of which decoders are in no figure, since they have too few words or tokens for it."""
    found: dict[str, list[str]] = {}
    for name in shown_columns(results):
        for row in [*results["rows"], *([results["human"]] if results["human"] else [])]:
            if short := row["figures"][name].get("left_out"):
                found.setdefault(f"{short} of {row['texts']} texts of {code(row['name'])} are too short for it", []).append(name)
    return [f"{column_titles(results, names)}: {text}" for text, names in found.items()]


def missing(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """Columns in which decoders have no figure, by the reason."""
    found: dict[str, list[str]] = {}
    for name in results["columns"]:
        for reason in dict.fromkeys(row["figures"][name].get("reason") for row in results["rows"]):
            if reason is not None:
                found.setdefault(reason, []).append(name)
    return found


def column_titles(results: Mapping[str, Any], names: Sequence[str]) -> str:
    """Columns as they are called in the table."""
    return ", ".join(results["columns"][name]["title"] for name in names)
