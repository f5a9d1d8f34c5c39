"""A benchmark in sentences: for each metric what its tests say, and what the decoders that they name cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from counterpoint.eval.report.figures import code, is_best, means_little, shown_columns


def verdicts(results: Mapping[str, Any]) -> list[str]:
    """A sentence for each tested column: which decoder is the best, and which others no test tells from it."""
    found = []
    for name in shown_columns(results):
        column = results["columns"][name]
        tested = {row["name"]: row["figures"][name] for row in results["rows"] if "best" in row["figures"][name]}
        if column["detail"] or not tested or any(map(means_little, tested.values())):
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


def costs(results: Mapping[str, Any]) -> list[str]:
    """How fast the best decoders, the fastest and the slowest are beside greedy search; nothing if none was timed."""
    timed = {row["name"]: value for row in results["rows"] if (value := speed_of(row)) is not None and row["name"] != "greedy"}
    if not timed:
        return []
    ranked = sorted(timed, key=lambda name: -timed[name])
    best = [row["name"] for row in results["rows"] if any(map(leads, row["figures"].values()))]
    told = dict.fromkeys([*(name for name in ranked if name in best), ranked[0], ranked[-1]])
    ends = {ranked[0]: " (the fastest)", ranked[-1]: " (the slowest)"} if len(ranked) > 1 else {}
    figures = ", ".join(
        f"{code(name)} {timed[name]:.2f}{ends.get(name, '')}" for name in sorted(told, key=lambda name: -timed[name])
    )
    return [f"cost: where greedy search writes one token, {figures}."]


def leads(figure: Mapping[str, Any]) -> bool:
    """Whether a figure is the best itself."""
    return is_best(figure) and "p_best" not in figure


def speed_of(row: Mapping[str, Any]) -> float | None:
    """Tokens a second beside greedy search's."""
    value: float | None = row["figures"].get("relative_speed", {}).get("value")
    return value


def any_of(names: Sequence[str]) -> str:
    """Names in a sentence.

    Example:
        >>> from counterpoint.eval.report.verdicts import any_of
        >>> any_of(["a", "b", "c"])
        'a, b or c'
    """
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
