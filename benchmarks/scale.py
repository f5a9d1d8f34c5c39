"""How a benchmark's own cost grows with its prompts: planning, the journal, and what scoring reads, without any model.

    python benchmarks/scale.py [10 ** 3 ...]

Each size is a process of its own, whose peak of resident memory is read; figures of a size are per prompt.
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from counterpoint.eval.bench.passages import Passage
from counterpoint.eval.bench.plan import Task, batches, pending
from counterpoint.eval.bench.records import read_generations
from counterpoint.eval.choosing import parse_decoder
from counterpoint.eval.journal import Journal, line_of, releases

SIZES = (10**3, 10**4, 10**5, 10**6)
PROMPT, TEXT = "The captain of the ship looked at the sea for a long time. " * 3, " and nobody on board said a word. " * 6


def main() -> None:
    """Print all sizes as JSON."""
    sizes = [int(word) for word in sys.argv[1:]] or SIZES
    rows = [json.loads(subprocess.check_output([sys.executable, __file__, "--one", str(size)])) for size in sizes]
    print(json.dumps({"machine": platform.processor() or platform.machine(), "sizes": rows}, indent=2))


def one(size: int) -> dict[str, Any]:
    """A size's seconds and bytes."""
    before = peak()
    passages = [Passage(index, f"{index} {PROMPT}", TEXT, tuple(range(index % 40 + 20))) for index in range(size)]
    prompts = peak()
    task = Task(parse_decoder("greedy"), 1, "task")
    begin = time.perf_counter()
    plan = batches([task], passages, 16)
    planned = time.perf_counter() - begin
    after_plan = peak()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = {"decoders": [{"task": "task", "label": "greedy", "seeds": 1, "num_prompts": size}], "run": {}}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        with (folder / "generations.jsonl").open("wb") as file:
            for batch in plan:
                for key, passage in zip(batch.keys, batch.passages, strict=True):
                    file.write(line_of(record(key, passage)))
        begin = time.perf_counter()
        journal = Journal(folder / "generations.jsonl")
        opened = time.perf_counter() - begin
        after_journal = peak()
        begin = time.perf_counter()
        assert not pending(plan, journal.results)  # noqa: S101 - all of it is there
        chosen = time.perf_counter() - begin
        del journal, plan, passages
        begin = time.perf_counter()
        found = read_generations(folder)
        read = time.perf_counter() - begin
        assert len(found) == size  # noqa: S101
    micro = {"plan": planned, "open journal": opened, "what is missing": chosen, "read for scores": read}
    memory = {"prompts": prompts - before, "plan": after_plan - prompts, "journal": after_journal - after_plan}
    return {
        "prompts": size,
        "microseconds a prompt": {name: round(1e6 * seconds / size, 2) for name, seconds in micro.items()},
        "bytes a prompt": {name: round(each / size) for name, each in memory.items()},
        "peak MiB": round(peak() / 2**20),
    }


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
