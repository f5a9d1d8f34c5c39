"""``results.json`` of a benchmark: every figure, what it was made of, and what is known of its error."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from counterpoint.decoders.choosing.grammar import join_choice
from counterpoint.decoders.choosing.rows import suggestion
from counterpoint.eval.bench.metrics import METRICS, Column
from counterpoint.eval.bench.own_metrics import is_own, metric_named
from counterpoint.eval.bench.per_text import write_per_text
from counterpoint.eval.bench.records import HUMAN, Record, read_config, read_failures, read_generations, read_speed
from counterpoint.eval.bench.scores import SPEED, Cell, Row, human_row, measure, measure_speed, rows_of
from counterpoint.eval.bench.statistics import CONFIDENCE, PERMUTATIONS, RESAMPLES, adjust, describe, difference, mark_best
from counterpoint.eval.journal import write_whole
from counterpoint.eval.metrics.significance import LEVEL

if TYPE_CHECKING:
    from counterpoint.eval.bench.metric_models import MetricModels

Results = dict[str, Any]
NAMES = (*METRICS, "speed")
"""The metrics, as they are called on the command line."""
LIBRARIES = ("counterpoint", "torch", "transformers")


def score_directory(directory: Path, names: Sequence[str], models: MetricModels, tick: Callable[[str], object] = str) -> Results:
    """Metrics of the texts that a benchmark's directory holds, in ``results.json`` and ``per_text.json`` there.

    Nothing is generated.

    Args:
        directory: Where ``counterpoint bench`` wrote.
        names: Metrics; see ``counterpoint bench ls``.
        models: The models that some of them need.
        tick: Called with what is measured next.

    Raises:
        ValueError: If there are no texts, or a metric is unknown.
    """
    check_names(names)
    config, records, speeds = read_config(directory), read_generations(directory), read_speed(directory)
    rows = rows_of(records)
    if not rows:
        raise ValueError(f"{directory}: no texts to score; `counterpoint bench run` generates them")
    human = human_row(records)
    planned = {each["label"]: each["seeds"] * each["num_prompts"] for each in config["decoders"]}
    elsewhere = {each["label"] for each in config["decoders"] if "made_by" in each}
    concurrency = sorted({record["concurrency"] for record in speeds if "concurrency" in record})
    columns = {key: (name, column) for name in names for key, column in columns_of(name, served=bool(concurrency)).items()}
    cells: dict[str, dict[str, Cell]] = {}
    for row in [*rows, *([human] if human else [])]:
        cells[row.label] = {}
        for name in names:
            tick(f"{name} of {row.label}")
            timed = row.label not in elsewhere
            cells[row.label] |= (
                measure_speed(row.label, speeds, timed) if name == "speed" else measure(metric_named(name), row, models)
            )
    figures, tests = evaluate(cells, {key: column for key, (_, column) in columns.items()})
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sources(directory)}
    write_per_text(directory, cells, records, files)
    results: Results = {
        "config": config,
        "first": rows[0].label,
        "columns": {key: describe_column(name, column, models, concurrency) for key, (name, column) in columns.items()},
        "rows": [
            describe_row(row, records) | {"name": name, "planned": planned[row.label], "figures": figures[row.label]}
            for row, name in zip(rows, short_names(rows), strict=True)
        ],
        "human": describe_row(human, []) | {"name": HUMAN, "figures": figures[HUMAN]} if human else None,
        "without_texts": [label for label in planned if label not in {row.label for row in rows}],
        "failures": [{name: failure[name] for name in ("decoder", "label", "error")} for failure in read_failures(directory)],
        "statistics": {
            "confidence": CONFIDENCE,
            "level": LEVEL,
            "resamples": RESAMPLES,
            "permutations": PERMUTATIONS,
            "tests": tests,
        },
        "scored_with": {name: version(name) for name in LIBRARIES}
        | {"python": platform.python_version(), "platform": platform.platform()},
        "files": files,
    }
    content = json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(directory / "results.json", content)
    written: Results = json.loads(content)
    return written


def check_names(names: Sequence[str]) -> None:
    """Check that every metric exists.

    Raises:
        ValueError: If a metric is unknown.
    """
    for name in names:
        if is_own(name):
            metric_named(name)
        elif name not in NAMES:
            raise ValueError(f"no metric {name!r}{suggestion(name, dict.fromkeys(NAMES))}; there are: {', '.join(NAMES)}")


def default_metrics(models: MetricModels) -> list[str]:
    """All but those for which an option is needed that was not given."""
    return [name for name in NAMES if name != "embedding_coherence" or models.embedder is not None]


def columns_of(name: str, *, served: bool = False) -> Mapping[str, Column]:
    """The columns of a metric; of a server its throughput takes the place of speed."""
    if name == "speed" and served:
        return {key: replace(column, title=f"server {column.title}") for key, column in SPEED.items()}
    return SPEED if name == "speed" else metric_named(name).columns


def evaluate(cells: Mapping[str, Mapping[str, Cell]], columns: Mapping[str, Column]) -> tuple[dict[str, dict[str, Any]], int]:
    """The figures of each row and column, each decoder's beside the first's and the best's, and the number of the former tests."""
    figures = {label: {key: describe(row[key], column) for key, column in columns.items()} for label, row in cells.items()}
    decoders = [label for label in cells if label != HUMAN]
    for key, column in columns.items():
        own = {label: cells[label][key] for label in decoders}
        for label in decoders[1:]:
            figures[label][key] |= difference(own[decoders[0]], own[label], column)
        human = cells[HUMAN][key] if HUMAN in cells else None
        mark_best(own, {label: figures[label][key] for label in decoders}, column, human)
    return figures, adjust([figures[label][key] for label in decoders[1:] for key in columns])


def describe_column(name: str, column: Column, models: MetricModels, concurrency: Sequence[int] = ()) -> dict[str, Any]:
    """What a column shows, and the settings with which alone its figures compare."""
    if name == "speed" and concurrency:
        told = {"of": "the server's throughput, network and queue included", "concurrency": " or ".join(map(str, concurrency))}
        return {"metric": name, **{key: value for key, value in vars(column).items() if key != "combine"}, "settings": told}
    shown = {key: value for key, value in vars(column).items() if key != "combine"}
    settings = () if name == "speed" else metric_named(name).settings
    return {"metric": name, **shown, "settings": {key: models.name_of(key) for key in settings}}


def describe_row(row: Row, records: Sequence[Record]) -> dict[str, Any]:
    """A decoder, and how many texts of it there are."""
    own = [record for record in records if record["label"] == row.label]
    return {
        "label": row.label,
        "decoder": row.decoder,
        "parameters": dict(row.parameters),
        "seeds": sorted(row.groups),
        "texts": sum(len(group.texts) for group in row.groups.values()),
        "mean_tokens": mean_of(own, "tokens"),
        "finished": mean_of(own, "finished"),
    }


def mean_of(records: Sequence[Record], name: str) -> float | None:
    """The mean of what records say; None if they do not, as those of texts that were made elsewhere."""
    values = [record[name] for record in records if record[name] is not None]
    return fmean(values) if values else None


def short_names(rows: Sequence[Row]) -> list[str]:
    """Decoders by name, with the parameters that tell them from others of that name.

    Example:
        >>> from counterpoint.eval.bench.results import short_names
        >>> from counterpoint.eval.bench.scores import Row
        >>> values = [("greedy", {}), ("nucleus", {"top_p": 0.9, "top_k": 0}), ("nucleus", {"top_p": 0.95, "top_k": 0})]
        >>> short_names([Row("", name, parameters, {}) for name, parameters in values])
        ['greedy', 'nucleus:top_p=0.9', 'nucleus:top_p=0.95']
    """
    names = []
    for row in rows:
        others = [other.parameters for other in rows if other.decoder == row.decoder]
        differing = [key for key, value in row.parameters.items() if any(other.get(key) != value for other in others)]
        names.append(join_choice(row.decoder, [(key, str(row.parameters[key])) for key in differing]))
    return names


def sources(directory: Path) -> list[Path]:
    """The files that the results are computed from."""
    return sorted(path for pattern in ("config.json", "generations*.jsonl", "speed.jsonl") for path in directory.glob(pattern))
