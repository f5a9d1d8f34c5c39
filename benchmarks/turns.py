"""Methods that are compared take turns token by token, so that each step of one has steps of all others within the same second."""

from __future__ import annotations

import random
import statistics
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from timing import now
from torch import Tensor
from transformers.generation.streamers import BaseStreamer

FIRST = 3
"""Turns that are not counted: up to the prompt, its forward, and the first step, in which methods find out what they need."""


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


def taking_turns(calls: Mapping[str, Callable[[BaseStreamer], object]], steps: int) -> dict[str, list[float]]:
    """Milliseconds of each step of each call, one thread at a time at work; the first turns are left out.

    Args:
        calls: Each runs ``generate`` with the streamer that it is given, for ``steps`` new tokens.
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
