"""``per_text.json`` of a benchmark: what every text adds to the figures that are made of sums over texts.

``{"files", "prompts": {index: number}, "columns": {column: {label: {seed: {"indices": [...], "terms": [[...], ...]}}}}}``: with it
texts of different runs are paired by their prompts, whose numbers are made of their words, and pages show each text's own figures.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from counterpoint.eval.bench.metrics import Column, mean
from counterpoint.eval.bench.own_metrics import is_own, metric_named
from counterpoint.eval.bench.records import Record
from counterpoint.eval.bench.scores import SPEED, Cell
from counterpoint.eval.inputs import json_file
from counterpoint.eval.journal import write_whole

FILE = "per_text.json"
PerText = dict[str, Any]


def write_per_text(
    directory: Path, cells: Mapping[str, Mapping[str, Cell]], records: Sequence[Record], files: Mapping[str, str]
) -> None:
    """Write what each text adds; ``files`` are the hashes of what it was computed from, which ``results.json`` has too."""
    columns: dict[str, dict[str, Any]] = {}
    for label, row in cells.items():
        for name, cell in row.items():
            if cell.terms:
                columns.setdefault(name, {})[label] = {
                    str(seed): {"indices": list(cell.indices[seed]), "terms": [[*map(plain, each)] for each in terms.tolist()]}
                    for seed, terms in cell.terms.items()
                }
    content = {"files": dict(files), "prompts": prompt_names(records), "columns": columns}
    write_whole(directory / FILE, json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n")


def plain(value: float) -> float | int:
    """A count without its ``.0``."""
    return int(value) if value.is_integer() else value


def prompt_names(records: Sequence[Record]) -> dict[str, int]:
    """For every prompt's index a number that is made of its words, and of how many equal ones came before it.

    Example:
        >>> from counterpoint.eval.bench.per_text import prompt_names
        >>> names = prompt_names([{"index": 0, "prompt": "a"}, {"index": 1, "prompt": "b"}, {"index": 2, "prompt": "a"}])
        >>> names["2"] - names["0"], names["1"] == names["0"]
        (1, False)
    """
    seen: Counter[bytes] = Counter()
    names = {}
    for index, prompt in sorted({record["index"]: record["prompt"] for record in records}.items()):
        digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()[:5]
        names[str(index)] = (int.from_bytes(digest, "big") << 12) + seen[digest]  # below 2^53, which JSON keeps
        seen[digest] += 1
    return names


def read_per_text(directory: Path, results: Mapping[str, Any]) -> PerText:
    """What :func:`write_per_text` wrote beside these results.

    Raises:
        ValueError: If it is missing, or of other texts than the results.
    """
    again = f"`counterpoint bench score {directory}` writes it anew"
    try:
        found: PerText = json_file(directory / FILE, "files", "columns", "prompts")
    except (OSError, ValueError) as error:
        raise ValueError(f"{directory}: no figures of each text; {again} ({error})") from error
    if found["files"] != results["files"]:
        raise ValueError(f"{directory / FILE} is of other texts than results.json; {again}")
    return found


def cell_of(per_text: Mapping[str, Any], name: str, label: str) -> Cell:
    """A decoder's sums in a column, its texts under the numbers of their prompts' words in place of their indices."""
    cell = Cell()
    for seed, found in per_text["columns"].get(name, {}).get(label, {}).items():
        cell.terms[int(seed)] = torch.tensor(found["terms"], dtype=torch.float64)
        cell.indices[int(seed)] = [per_text["prompts"][str(index)] for index in found["indices"]]
    return cell


def column_of(results: Mapping[str, Any], name: str) -> Column:
    """A column by its name in results; one of somebody's own metric is the mean of what texts have, and runs no code."""
    metric = results["columns"][name]["metric"]
    if metric == "speed":
        return SPEED[name]
    return Column(name, "human", mean) if is_own(metric) else metric_named(metric).columns[name]


def values_of_each(results: Mapping[str, Any], per_text: Mapping[str, Any], name: str, label: str) -> dict[int, dict[int, float]]:
    """The figure of every text by itself, by seed and index; texts that are too short have none."""
    combine = column_of(results, name).combine
    found: dict[int, dict[int, float]] = {}
    if combine is None:
        return found
    for seed, each in per_text["columns"].get(name, {}).get(label, {}).items():
        values = combine(torch.tensor(each["terms"], dtype=torch.float64)).tolist()
        found[int(seed)] = {index: value for index, value in zip(each["indices"], values, strict=True) if math.isfinite(value)}
    return found
