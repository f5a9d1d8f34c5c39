"""Short runs on the same processor time, to choose the shape and the rates of the long one.

Usage: ``python trials.py --corpus DIR --work DIR --seconds 240 --output trials.jsonl "width=320 heads=5" ...``

Each trial is what it changes of the default shape. Time is the processor's, so that other work on the machine does not count.
Every trial warms up for 5 % of its seconds, keeps its peak rates until 40 % and then decays linearly to zero. The results are added
to the file of JSON lines, and the table of all that are in it is written beside it as Markdown.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

from run import SPLITS, HeldOut, Run, Shape

Row = dict[str, float]  # the shape, the processor's seconds, and what came of it


def rate(share: float) -> float:
    """Learning rate at a share of a trial, relative to its peak."""
    return min(share / 0.05, 1.0) if share < 0.4 else max(0.0, (1.0 - share) / 0.6)


def parse(changes: str) -> Shape:
    """A shape from ``"name=value name=value"``."""
    values = {name: float(value) for name, value in (change.split("=") for change in changes.split())}
    integers = {field.name for field in dataclasses.fields(Shape) if field.type == "int"}
    return Shape(**{name: int(value) if name in integers else value for name, value in values.items()})


def trial(shape: Shape, corpus: Path, work: Path, seconds: float) -> Row:
    """Train for some seconds of processor time and measure."""
    run = Run(shape, corpus, work)
    start = time.process_time()
    while (spent := time.process_time() - start) < seconds:
        run.step(rate(spent / seconds), length=256)
    measures = {split: round(HeldOut(corpus, split, run.tokenizer, 128).bits_per_byte(run.model), 4) for split in SPLITS}
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    return {**dataclasses.asdict(shape), "seconds": seconds, "parameters": parameters, "tokens": run.tokens, **measures}


def table(rows: list[Row]) -> str:
    """All trials as Markdown, the best on today's held-out set first."""
    names = list(rows[0])
    lines = [[f"{row[name]:,}" if name in ("parameters", "tokens") else str(row[name]) for name in names] for row in rows]
    body = [line for _, line in sorted(zip([row[SPLITS[0]] for row in rows], lines, strict=True))]
    header = [[name.replace("_", " ") for name in names], ["---"] * len(names)]
    return "".join("| " + " | ".join(line) + " |\n" for line in header + body)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", nargs="+", help='what a trial changes, such as "width=320 heads=5"; "" changes nothing')
    parser.add_argument("--corpus", type=Path, required=True, help="folder written by corpus.py")
    parser.add_argument("--work", type=Path, required=True, help="folder for the tokenizers")
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--output", type=Path, required=True, help="JSON lines, added to")
    arguments = parser.parse_args()
    for changes in arguments.trials:
        row = trial(parse(changes), arguments.corpus, arguments.work, arguments.seconds)
        with arguments.output.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        rows = [json.loads(line) for line in arguments.output.read_text(encoding="utf-8").splitlines()]
        arguments.output.with_suffix(".md").write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
