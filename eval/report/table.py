"""Results of a benchmark as a Markdown table: a row for each decoder, a mark where it differs from the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from counterpoint.eval.metrics.significance import LEVEL

MARK = "†"  # an asterisk would be markup
ARROWS = {"higher": "↑", "lower": "↓", "human": ""}


def markdown(results: Mapping[str, Any], details: bool = True) -> str:
    """The table, what its marks mean, what could not be measured, and which decoders failed; a second one with the ``details``."""
    shown = shown_columns(results)
    parts = [[name for name in shown if not results["columns"][name]["detail"]]]
    parts += [[name for name in shown if results["columns"][name]["detail"]]] if details else []
    lines = [line for names in parts if names for line in [*figures_table(results, names), ""]]
    return "\n".join([*lines, *(f"- {note}" for note in notes(results))]) + "\n"


def figures_table(results: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Some columns for all decoders, and for human texts."""
    rows = [[called(row), *(cell(results, row, name) for name in names)] for row in results["rows"]]
    if results["human"]:
        rows.append(["*human*", *(number(results["columns"][name], results["human"]["figures"][name]) for name in names)])
    return table(["decoder", *(heading(results["columns"][name]) for name in names)], rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> list[str]:
    """Lines of a Markdown table whose columns are as wide as what is in them: ``names`` to the left, then numbers."""
    cells = [[text.replace("|", "\\|") for text in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * width if place < names else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    return [f"| {' | '.join(aligned(row, widths, names))} |" for row in (cells[0], rule, *cells[1:])]


def aligned(row: Sequence[str], widths: Sequence[int], names: int) -> list[str]:
    """Cells as wide as their columns."""
    return [
        text.ljust(width) if place < names else text.rjust(width)
        for place, (text, width) in enumerate(zip(row, widths, strict=True))
    ]


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


def cell(results: Mapping[str, Any], row: Mapping[str, Any], name: str) -> str:
    """A decoder's figure: bold if no test tells it from the best, marked if it differs from the first decoder's."""
    figure = row["figures"][name]
    text, mark = number(results["columns"][name], figure), MARK if differs(figure) else ""
    return f"**{text}**{mark}" if figure.get("best") else f"{text}{mark}"


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


def verdicts(results: Mapping[str, Any]) -> list[str]:
    """A sentence for each tested column: which decoder is the best, and which others no test tells from it."""
    found = []
    for name in shown_columns(results):
        column = results["columns"][name]
        tested = {row["name"]: row["figures"][name] for row in results["rows"] if "best" in row["figures"][name]}
        if column["detail"] or not tested:
            continue
        best = next(each for each, figure in tested.items() if "p_best" not in figure)
        equal = [code(each) for each, figure in tested.items() if figure["best"] and each != best]
        others = len(tested) - 1 - len(equal)
        rank = {"human": "nearest to human text", "higher": "highest", "lower": "lowest"}[column["better"]]
        sentence = f"{column['title']}: {code(best)} is {rank}"
        if equal:
            sentence += f"; no test tells {any_of(equal)} from it"
        if others and equal:
            sentence += f", and tests tell the other {others} from it"
        elif others:
            sentence += ", and tests tell all others from it"
        found.append(sentence + ".")
    return found


def failed(results: Mapping[str, Any]) -> list[str]:
    """The labels of decoders that failed."""
    return [failure["label"] for failure in results["failures"]]


def any_of(names: Sequence[str]) -> str:
    """Names in a sentence.

    Example:
        >>> from counterpoint.eval.report.table import any_of
        >>> any_of(["a", "b", "c"])
        'a, b or c'
    """
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


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
    found += verdicts(results)
    if parameters := [code(row["label"]) for row in results["rows"] if row["label"] != row["name"]]:
        found.append(f"Parameters: {', '.join(parameters)}.")
    found += [
        f"{code(row['name'])} is partial: {partial(row)}; the same command continues." for row in results["rows"] if partial(row)
    ]
    found += [f"{code(label)} has no texts yet." for label in results["without_texts"] if label not in failed(results)]
    found += served_by(results["config"]["run"])
    found += chats_of(results["config"]["run"])
    found += [f"{column_titles(results, names)}: {text}" for text, names in settings_of(results).items()]
    found += [f"{text}." for text in warnings_of(results)]
    found += [f"{text}." for text in left_out(results)]
    found += [f"{column_titles(results, names)}: {reason}" for reason, names in missing(results).items()]
    if results["human"]:
        found.append("human: the references, each cut to the words of the longest text that a decoder wrote for its prompt.")
    found += [f"{code(failure['label'])} failed: {code(failure['error'])}" for failure in results["failures"]]
    return found


def served_by(run: Mapping[str, Any]) -> list[str]:
    """That a server wrote the texts, by its own samplers and its own beam search."""
    if "server" not in run:
        return []
    return [f"A server wrote the texts ({code(run['server'])}): samplers and beams are its own, and so is the speed."]


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
        found += [detail["warning"] for detail in details if detail["warning"]][:1]
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
