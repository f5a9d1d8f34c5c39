"""How a benchmark's own cost grows with its prompts: planning, journals, the start of processes, and scoring, without any model.

    python benchmarks/scale.py [PROMPTS ...]

Each size is a process of its own, whose peak of resident memory is read; figures of a size are per prompt, and times are those of
the processor, since the machine may do other work. A million prompts take half an hour, most of it the drawings of intervals.
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import process_time
from typing import Any

from counterpoint.eval.bench.metric_models import MetricModels
from counterpoint.eval.bench.passages import Passage
from counterpoint.eval.bench.plan import Task, batches, pending
from counterpoint.eval.bench.records import read_generations
from counterpoint.eval.bench.results import score_directory
from counterpoint.eval.choosing import parse_decoder
from counterpoint.eval.journal import Journal, line_of, read_records, releases

SIZES = (10**3, 10**4, 10**5, 10**6)
PROCESSES = (1, 2, 4, 8)
PROMPT, TEXT = "The captain of the ship looked at the sea for a long time. " * 3, " and nobody on board said a word. " * 6


def main() -> None:
    """Print each size as JSON, as it comes."""
    print(platform.processor() or platform.machine(), flush=True)
    for size in [int(word) for word in sys.argv[1:]] or SIZES:
        found = json.loads(subprocess.check_output([sys.executable, __file__, "--one", str(size)]))
        print(json.dumps(found, indent=2), flush=True)


def one(size: int) -> dict[str, Any]:
    """A size's seconds and bytes."""
    before = peak()
    passages = [Passage(index, f"{index} {PROMPT}", TEXT, tuple(range(index % 40 + 20))) for index in range(size)]
    prompts = peak()
    task = Task(parse_decoder("greedy"), 1, "task")
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        begin = process_time()
        yield
        seconds[name] = process_time() - begin

    with timed("plan"):
        plan = batches([task], passages, 16)
    after_plan = peak()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = {"decoders": [{"task": "task", "label": "greedy", "seeds": 1, "num_prompts": size}], "run": {}}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        with (folder / "generations.jsonl").open("wb") as file:
            for batch in plan:
                for key, passage in zip(batch.keys, batch.passages, strict=True):
                    file.write(line_of(record(key, passage)))
        with timed("open journal"):
            journal = Journal(folder / "generations.jsonl")
        after_journal = peak()
        del journal
        for count in PROCESSES:
            spread(folder, count)
            with timed(f"what is missing, of {count}"):
                done = {each["key"] for each in read_records(folder, "generations*.jsonl")}
                assert not pending(plan[::count], done)  # noqa: S101 - all of it is there
            del done
        del plan, passages
        with timed("read for scores"):
            found = read_generations(folder)
        assert len(found) == size  # noqa: S101
        del found
        after_reading = peak()
        with timed("score"):
            score_directory(folder, ["length"], MetricModels(folder))
    memory = {"prompts": prompts - before, "plan": after_plan - prompts, "journal": after_journal - after_plan}
    return {
        "prompts": size,
        "microseconds a prompt": {name: round(1e6 * each / size, 2) for name, each in seconds.items()},
        "bytes a prompt": {name: round(each / size) for name, each in memory.items()},
        "peak MiB": {"before scoring": round(after_reading / 2**20), "scoring": round(peak() / 2**20)},
    }


def spread(folder: Path, count: int) -> None:
    """The texts in as many journals as there are processes."""
    lines = [line for path in sorted(folder.glob("generations*.jsonl")) for line in path.read_bytes().splitlines(keepends=True)]
    for path in folder.glob("generations*.jsonl"):
        path.unlink()
    for place in range(count):
        (folder / f"generations-{place}.jsonl").write_bytes(b"".join(lines[place::count]))


def record(key: str, passage: Passage) -> dict[str, Any]:
    """A text as a benchmark keeps it."""
    facts = {
        "task": "task",
        "decoder": "greedy",
        "label": "greedy",
        "parameters": {},
        "model": "m",
        "revision": "r",
        "dtype": "float32",
    }
    own = {"seed": 0, "index": passage.index, "prompt": passage.prompt, "reference": passage.reference}
    return {"key": key, "versions": releases(), **facts, **own, "text": TEXT, "tokens": 48, "finished": False}


def peak() -> int:
    """Bytes that this process had resident at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(int(sys.argv[2]))))
    else:
        main()
