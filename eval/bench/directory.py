"""What a benchmark's directory holds: texts of one model on one set of prompts, of all decoders that were ever run in it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from counterpoint.decoders.kernels.choosing import named, survey
from counterpoint.decoders.kernels.policy import Policy, pinned
from counterpoint.decoders.kernels.skinny_linear import linear_weights
from counterpoint.eval.bench.records import read_config, read_generations
from counterpoint.eval.bench.run import Run
from counterpoint.eval.directories import written_alone as alone
from counterpoint.eval.journal import line_of, name_other_releases, read_records, write_bytes, write_whole, writing
from counterpoint.eval.loading import Loaded

LOGGER = logging.getLogger(__name__)


@contextmanager
def written_alone(run: Run) -> Iterator[None]:
    """The directory is this run's, for all its processes, and ``config.json`` says what it holds.

    All of them use the kernels that it says, so that no text depends on who measured what.

    Raises:
        ValueError: If another run writes it, or it holds texts that do not go with this one's.
    """
    with (
        alone(run.directory, lambda: begin(run), run.state, run.shard_name),
        pinned(Policy(fixed=read_config(run.directory)["kernels"])) as kernels,
        kernels,
    ):
        yield


def begin(run: Run) -> None:
    """Write ``config.json``, unless the directory is of a run that differs in more than decoders, prompts, seeds and metrics.

    Decoders of earlier runs stay. One that is run again, with other models under the same name, is made anew.
    """
    path = run.directory / "config.json"
    config, kernels = run.config(), None
    if path.exists():
        before = read_config(run.directory)
        for name in sorted({*before["run"], *run.facts}):
            if before["run"].get(name) != run.facts.get(name):
                raise ValueError(
                    f"{run.directory} holds texts of {name}={before['run'].get(name)}, which do not go with those of "
                    f"{name}={run.facts.get(name)}; give another folder"
                )
        config |= joined(before, config)
        kernels = before.get("kernels")
        name_other_releases(read_generations(run.directory), str(run.directory))
    own = {str(task.spec) for task in run.tasks}
    mine = f"failures-{run.shard_name}.jsonl" if run.shard_name else "failures*.jsonl"
    for failures in run.directory.glob(mine):  # those of this run's decoders are tried again
        others = [record for record in read_records(run.directory, failures.name) if record["label"] not in own]
        with writing(failures):
            write_bytes(failures, b"".join(map(line_of, others)))
    weights = linear_weights(run.loaded.model) if isinstance(run.loaded, Loaded) else []  # a server's kernels are its own
    config["kernels"] = named(survey(weights)) if kernels is None else kernels
    write_whole(path, json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def joined(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The decoders of earlier runs and of this one, each with all its seeds and prompts; in this one's order if it names all."""
    decoders = {each["label"]: each for each in before["decoders"]}
    for each in now["decoders"]:
        earlier = decoders.get(each["label"])
        if earlier and earlier["task"] != each["task"]:
            LOGGER.warning("%s: what it depends on has changed since its texts were written; they are made anew", each["label"])
        elif earlier:
            each = {**each, **{name: max(each[name], earlier[name]) for name in ("seeds", "num_prompts")}}
        decoders[each["label"]] = each
    order = [each["label"] for each in now["decoders"]]
    decoders = {label: decoders[label] for label in ([*order] if decoders.keys() == {*order} else [*decoders])}
    counts = {name: max(before[name], now[name]) for name in ("num_prompts", "num_seeds")}
    return {"decoders": list(decoders.values()), "metrics": now["metrics"] or before["metrics"], **counts}
