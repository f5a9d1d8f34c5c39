"""Results of questions: one of each decoder in a directory, as a table with intervals and paired tests against the first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from counterpoint.eval.inputs import json_file
from counterpoint.eval.journal import write_whole

Results = dict[str, Any]
LEVEL, CONFIDENCE, RESAMPLES, PERMUTATIONS = 0.05, 0.95, 4999, 9999
MARK = "†"


def write_results(directory: Path, key: str, results: Results, records: Sequence[Mapping[str, Any]]) -> Results:
    """Write a decoder's results and those of each question, and the table of all decoders in the directory.

    ``results-KEY.json`` and ``questions-KEY.jsonl`` stay beside those of other decoders; ``results.json`` has the last results.
    """
    file = f"questions-{key}.jsonl"
    own = [{name: value for name, value in record.items() if name not in ("key", "versions")} for record in records]
    write_whole(directory / file, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in own))
    results = {**results, "question_results": file}
    content = json.dumps(results, indent=2, ensure_ascii=False) + "\n"
    write_whole(directory / f"results-{key}.json", content)
    write_whole(directory / "results.json", content)
    write_whole(directory / "table.md", markdown(read_results([directory])))
    return results


def read_results(directories: Sequence[Path]) -> list[Results]:
    """The results of all decoders in directories, each with its questions' measures under "by_question".

    Raises:
        ValueError: If a directory has none, or a file is damaged.
    """
    found: list[Results] = []
    for directory in directories:
        paths = sorted(directory.glob("results-*.json"), key=lambda path: path.stat().st_mtime_ns)
        if not paths:
            raise ValueError(f"{directory}: no results in it; `counterpoint truthfulqa` and `factor` write them by --output-dir")
        for path in paths:
            try:
                results: Results = json_file(path, "question_results", "label", "metrics", "model", "data")
                lines = (directory / results["question_results"]).read_text(encoding="utf-8").split("\n")
                records = [json.loads(line) for line in lines if line.strip()]
                by_question = {record["question"]: record["measures"] for record in records}
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(f"{path}: damaged ({error}); the command that wrote it writes it anew") from error
            label = results["label"] if len(directories) == 1 else f"{directory}: {results['label']}"
            found.append({**results, "label": label, "by_question": by_question})
    return found


def compare(first: Results, second: Results, measure: str) -> dict[str, Any]:
    """How a measure differs on the questions that both have: by how much, between which bounds, and a p-value.

    The interval is a bootstrap's and the p-value a paired permutation test's, both over questions.
    """
    import torch

    from counterpoint.eval.metrics.resampling import bootstrap, interval, p_value, swapped

    common = [name for name in first["by_question"] if name in second["by_question"]]
    values = [[each["by_question"][name][measure] for name in common] for each in (first, second)]
    if not common:
        return {"questions": 0}
    one, other = (torch.tensor([[[value, 1.0] for value in own]], dtype=torch.float64) for own in values)

    def mean(sums: Any) -> Any:
        return sums[..., 0] / sums[..., 1]

    difference = (sum(values[1]) - sum(values[0])) / len(common)
    before, after = bootstrap(torch.stack([one, other]), mean, resamples=RESAMPLES).unbind(dim=1)
    swapped_before, swapped_after = swapped(one, other, mean, resamples=PERMUTATIONS)
    return {
        "questions": len(common),
        "difference": difference,
        "interval": interval(after - before, CONFIDENCE),
        "p": p_value(difference, swapped_after - swapped_before),
    }


def half_width(results: Results, measure: str) -> float | None:
    """Half the bootstrap interval over questions of a measure's mean."""
    import torch

    from counterpoint.eval.metrics.resampling import bootstrap, interval

    values = [[[each[measure], 1.0] for each in results["by_question"].values()]]
    drawn = bootstrap(torch.tensor(values, dtype=torch.float64), lambda sums: sums[..., 0] / sums[..., 1], resamples=RESAMPLES)
    found = interval(drawn, CONFIDENCE)
    return None if found is None else (found[1] - found[0]) / 2


def comparisons(group: Sequence[Results]) -> dict[tuple[int, str], dict[str, Any]]:
    """Every decoder's measures against the first's, by the decoder's place and the measure, with Holm's adjustment over all."""
    from counterpoint.eval.metrics.significance import holm

    found = {
        (place, measure): compare(group[0], other, measure)
        for place, other in enumerate(group[1:], 1)
        for measure in measures(group)
    }
    tested = [each for each in found.values() if "p" in each]
    for each, adjusted in zip(tested, holm([each["p"] for each in tested]), strict=True):
        each["p_adjusted"] = adjusted
    return found


def measures(group: Sequence[Results]) -> list[str]:
    """The measures of every question that all results have."""
    own = [list(next(iter(each["by_question"].values()))) for each in group]
    return [name for name in own[0] if all(name in others for others in own)]


def markdown(results: Sequence[Results]) -> str:
    """A table for each task: a row for each decoder, and what a reader has to know."""
    tasks = dict.fromkeys(each.get("task", "factor") for each in results)
    return "\n".join(part for task in tasks for part in of_task([each for each in results if each.get("task", "factor") == task]))


def facts(results: Results) -> dict[str, Any]:
    """What else than the decoder a result depends on, by the name that a table gives it."""
    data = results["data"]
    own = {"model": results["model"], "preset": results.get("preset"), "scores": results.get("scores"), "seed": results.get("seed")}
    return own | {"context": data.get("context"), "sha256 of the data": data["sha256"][:12]}


def told_apart(group: Sequence[Results]) -> list[Results]:
    """The results under labels of their own: to equal ones is added what differs among them."""
    found: list[Results] = []
    for each in group:
        alike = [facts(other) for other in group if other["label"] == each["label"]]
        more = [f"{name} {value}" for name, value in facts(each).items() if any(other[name] != value for other in alike)]
        found.append({**each, "label": ", ".join([each["label"], *more])})
    return found


def of_task(group: Sequence[Results]) -> list[str]:
    """The table of one task."""
    group = told_apart(group)
    names, tests = measures(group), comparisons(group)
    head = ["decoder", "questions", *names]
    rows = [
        [f"`{each['label']}`", amount(each), *(cell(each, name, tests.get((place, name), {})) for name in names)]
        for place, each in enumerate(group)
    ]
    notes = [f"±: half the {CONFIDENCE:.0%} bootstrap interval over questions."]
    if tests:
        notes.append(
            f"{MARK}: differs from `{group[0]['label']}` on the questions that both have, by a paired permutation test, "
            f"p ≤ {LEVEL} after Holm's adjustment for {len(tests)} tests."
        )
    notes += [f"`{each['label']}` is partial: {amount(each)}." for each in group if each.get("partial")]
    for what in facts(group[0]):
        values = {each["label"]: facts(each)[what] for each in group}
        if len({*values.values()}) > 1:
            notes.append(f"{what} differs: {', '.join(f'`{label}` {value}' for label, value in values.items())}.")
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---", *["---:"] * (len(head) - 1)], *rows)]
    return [*lines, "", *(f"- {note}" for note in notes), ""]


def amount(results: Results) -> str:
    """How many questions there are, of how many."""
    partial = results.get("partial")
    return f"{partial['questions']} of {partial['of']}" if partial else str(results["questions"])


def cell(results: Results, measure: str, test: Mapping[str, Any]) -> str:
    """A mean with its error, and a mark where it differs from the first decoder's."""
    width = half_width(results, measure)
    mark = MARK if test.get("p_adjusted", 1.0) <= LEVEL else ""
    return f"{results['metrics'][measure]:.4f}{'' if width is None else f' ±{width:.4f}'}{mark}"
