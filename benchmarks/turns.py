"""Methods that are compared take turns token by token, so that each step of one has steps of all others within the same second."""

from __future__ import annotations

import random
import statistics
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from timing import Case, add_to_machines, described, now
from torch import Tensor
from transformers.generation.streamers import BaseStreamer

FIRST = 3
"""Turns that are not counted: up to the prompt, its forward, and the first step, in which methods find out what they need."""


Calls = Mapping[str, Callable[[BaseStreamer], object]]
"""By name what runs ``generate`` with the streamer that it is given."""


class Turn(BaseStreamer):
    """Stops a ``generate`` after each token until it is its turn again."""

    def __init__(self) -> None:
        self.mine, self.done = threading.Semaphore(0), threading.Semaphore(0)

    def put(self, value: Tensor) -> None:
        """A token is there: the others go on."""
        self.done.release()
        self.mine.acquire()

    def end(self) -> None:
        """Nothing to do."""


def taking_turns(calls: Calls, steps: int) -> dict[str, list[float]]:
    """Milliseconds of each step of each call, one thread at a time at work; the first turns are left out.

    Args:
        calls: Each writes ``steps`` new tokens.
        steps: How many tokens each of them writes.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    turns = {name: Turn() for name in calls}

    def begin(name: str) -> None:
        turns[name].mine.acquire()
        try:
            calls[name](turns[name])
        finally:
            turns[name].done.release(steps + 1)  # whoever waits for it goes on, also after an error

    with ThreadPoolExecutor(len(calls)) as threads:
        running = [threads.submit(begin, name) for name in calls]
        for _ in range(steps + 1):
            for name, turn in turns.items():
                before = now()
                turn.mine.release()
                turn.done.acquire()
                times[name].append(1000 * (now() - before))
        for turn in turns.values():
            turn.mine.release()
        for each in running:
            each.result()
    return {name: own[FIRST:] for name, own in times.items()}


def ratio(own: Sequence[float], base: Sequence[float]) -> tuple[float, float, float]:
    """The median over steps of what a step took over what the same step of the other took, and its 95 % bootstrap interval."""
    ratios, drawing = [mine / other for mine, other in zip(own, base, strict=True)], random.Random(0)  # noqa: S311
    drawn = sorted(statistics.median(drawing.choices(ratios, k=len(ratios))) for _ in range(1000))
    return statistics.median(ratios), drawn[25], drawn[974]


def measured(calls: Calls, rounds: int, steps: int) -> dict[str, list[float]]:
    """Milliseconds of each step of each call, those of one round after those of another."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name, own in taking_turns(calls, steps).items():
            found[name] += own
        medians = {name: round(statistics.median(own), 2) for name, own in found.items()}
        print(f"round {number + 1} of {rounds}: {medians}", flush=True)
    return found


def table(bases: Mapping[str, str], cases: Sequence[Case], environment: dict[str, Any]) -> str:
    """Markdown: of each case and method the median, the ratio to what ``bases`` holds it against, and its limit if there is one."""
    lines = ["| dtype | batch | context | method | ms/token | over | ratio | limit |", "|---" * 8 + "|"]
    for case in cases:
        for name, times in case["ms_per_token"].items():
            against = [bases[name], "{:.3f} ({:.3f} to {:.3f})".format(*case["ratios"][name])] if name in bases else ["", ""]
            cells = [case["dtype"], case["batch"], case["context"], name, f"{statistics.median(times):.2f}", *against]
            cells.append(case.get("limits", {}).get(name, ""))
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, "", described(environment)]) + "\n"


def add_ratios_to_machines(environment: dict[str, Any], case: Case, bases: Mapping[str, str]) -> None:
    """A row of the table of all machines for each ratio of a case."""
    shown = {name: case[name] for name in ("dtype", "batch", "context")}
    add_to_machines(
        environment,
        [
            {**shown, "what": name, "over": bases[name], "ratio": f"{own[0]:.2f}", "limit": case.get("limits", {}).get(name, "")}
            for name, own in case["ratios"].items()
        ],
    )
