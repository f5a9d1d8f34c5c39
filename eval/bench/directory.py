"""A benchmark's directory has one writer at a time and holds texts of one kind; its files are whole at any time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from accelerate.utils import broadcast_object_list  # type: ignore[import-untyped]
from filelock import FileLock, Timeout

from counterpoint.eval.bench.records import read_config
from counterpoint.eval.bench.run import Run
from counterpoint.eval.journal import write_whole


@contextmanager
def written_alone(run: Run) -> Iterator[None]:
    """The directory is this run's, for all its processes, and ``config.json`` says what it holds.

    The lock is the operating system's, so that it goes with the process, however that ends.

    Raises:
        ValueError: If another run writes it, or it holds texts that do not go with this one's.
    """
    problem: list[str | None] = [None]
    lock = FileLock(run.directory / ".lock")
    if run.state.is_main_process:
        try:
            run.directory.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
            begin(run)
        except Timeout:
            problem = [f"{run.directory}: another `counterpoint bench` is writing it; wait, or give another folder"]
        except (OSError, ValueError) as error:
            problem = [str(error)]
    if run.state.num_processes > 1:
        broadcast_object_list(problem)
    try:
        if problem[0] is not None:
            raise ValueError(problem[0])
        yield
    finally:
        lock.release()


def begin(run: Run) -> None:
    """Write ``config.json``, unless the directory is of a run that differs in more than decoders, prompts, seeds and metrics."""
    path = run.directory / "config.json"
    if path.exists():
        before = read_config(run.directory)["run"]
        for name in sorted({*before, *run.facts}):
            if before.get(name) != run.facts.get(name):
                raise ValueError(
                    f"{run.directory} holds texts of {name}={before.get(name)}, which do not go with those of "
                    f"{name}={run.facts.get(name)}; give another folder"
                )
    for stale in run.directory.glob("failures*.jsonl"):
        stale.unlink()  # they are tried again
    write_whole(path, json.dumps(run.config(), indent=2, ensure_ascii=False) + "\n")
