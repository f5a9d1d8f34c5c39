"""Several requests at a time, whose answers are handed out as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def concurrently(work: Callable[[Item], Answer], items: Sequence[Item], most: int) -> Iterator[tuple[Item, Answer | Exception]]:
    """What ``work`` makes of each item, or the exception it raised, in the order in which they are done.

    Whoever stops asking stops the rest: what has not begun is left, and what has does not keep the process from ending.

    Args:
        work: Called in threads, ``most`` of them at a time.
        items: What it is called with, begun in this order.
        most: How many are worked on together.

    Example:
        >>> from counterpoint.eval.engines.concurrent import concurrently
        >>> sorted(concurrently(lambda number: number**2, [1, 2, 3], 2))
        [(1, 1), (2, 4), (3, 9)]
    """
    left = iter(items)
    begun: SimpleQueue[Item] = SimpleQueue()
    done: SimpleQueue[tuple[Item, Answer | Exception]] = SimpleQueue()
    stopped = Event()

    def run() -> None:
        while not stopped.is_set():
            item = begun.get()
            if stopped.is_set():
                return
            try:
                found: Answer | Exception = work(item)
            except Exception as error:  # handed to whoever asks
                found = error
            done.put((item, found))

    open_requests = 0
    try:
        for _ in range(min(most, len(items))):
            begun.put(next(left))
            Thread(target=run, daemon=True).start()  # a thread that waits for a server ends with the process
            open_requests += 1
        for _ in range(len(items)):
            yield done.get()
            following = next(left, stopped)
            if not isinstance(following, Event):
                begun.put(following)
    finally:
        stopped.set()
        for _ in range(open_requests):
            begun.put(items[0])  # wakes a thread that waits for work, which then ends


def gathered(work: Callable[[Item], Answer], items: Sequence[Item], most: int) -> list[Answer]:
    """What ``work`` makes of each item, in their order.

    Raises:
        Exception: The first that ``work`` raises.
    """
    found: dict[int, Answer] = {}
    for place, answer in concurrently(lambda place: work(items[place]), range(len(items)), most):
        if isinstance(answer, Exception):
            raise answer
        found[place] = answer
    return [found[place] for place in range(len(items))]
