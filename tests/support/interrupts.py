"""Ctrl-C at any line of the library that a call passes, by a trace function, and what has to hold after it.

An interrupt comes at every line of the packages and of ``contextlib``, at its first and last time, but not where a ``with`` is left
in the usual way: the interpreter does not look for signals there before what is left has been told.
"""

from __future__ import annotations

import ast
import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.decoders.hf.generate_call import _of_this_thread as of_calls
from counterpoint.decoders.hf.side_forward import forward_owner
from counterpoint.decoders.kernels import grouped_attention, skinny_linear

Line = tuple[str, int]
Visit = Callable[[Line], None]
WATCHED = ("counterpoint.", "contextlib")


@dataclass(frozen=True)
class Point:
    """The ``nth`` time that a call comes to a line."""

    line: Line
    nth: int

    def __str__(self) -> str:
        return f"{Path(self.line[0]).name}:{self.line[1]}, time {self.nth}"


@cache
def withs(file: str) -> list[tuple[range, range]]:
    """The lines of each ``with`` of a file that say what it stands for, and those within it."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.With)]
    return [
        (range(node.lineno, node.body[0].lineno), range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1))
        for node in nodes
    ]


@cache
def leaves_a_with(file: str, before: int, now: int) -> bool:
    """Whether going from one line to the other ends a ``with``."""
    return any(now in header and before in body for header, body in withs(file))


def traced(call: Callable[[], Any], visit: Visit, only: str | None = None) -> Any:
    """The call, with each of its lines, or those of ``only`` one file, shown before it runs."""
    lines: dict[FrameType, int] = {}

    def within(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            file, before, now = frame.f_code.co_filename, lines.get(frame, 0), frame.f_lineno
            lines[frame] = now
            if not leaves_a_with(file, before, now):
                visit((file, now))
        elif event == "return":
            lines.pop(frame, None)
        return within

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.endswith(".py") or only not in (None, file):  # others are made by dataclasses and beartype
            return None
        return within if str(frame.f_globals.get("__name__")).startswith(WATCHED) else None

    sys.settrace(enter)
    try:
        return call()
    finally:
        sys.settrace(None)
        lines.clear()  # or frames would live in a circle with what traces them


def points(call: Callable[[], Any]) -> list[Point]:
    """Where a call can be interrupted, in the order in which it comes there first."""
    times: Counter[Line] = Counter()
    traced(call, lambda line: times.update([line]))
    return [Point(line, nth) for line, count in times.items() for nth in sorted({1, count})]


def interrupted(call: Callable[[], Any], point: Point) -> bool:
    """Interrupt a call; whether it came to the point."""
    left = point.nth

    def visit(line: Line) -> None:
        nonlocal left
        left -= line == point.line
        if left == 0 and line == point.line:
            sys.settrace(None)
            raise KeyboardInterrupt

    def alone() -> Iterator[None]:
        """Keeps an exception that the trace function, unlike a signal, cut off in the last line of its handler."""
        yield traced(call, visit, point.line[0])

    try:
        next(alone())
    except KeyboardInterrupt:
        return True
    return False


def state(models: Sequence[nn.Module]) -> dict[str, Any]:
    """All that a call may change for its time: attentions, forwards, hooks, adapters, owners of forwards and of searches."""
    modules = [module for model in models for module in model.modules()]
    return {
        "attention": [model.config._attn_implementation for model in models],  # type: ignore[union-attr]
        "forwards": [vars(module).get("forward") for module in modules],
        "hooks": [len(module._forward_pre_hooks) + len(module._forward_hooks) for module in modules],
        "adapters": [(vars(module).get("_disable_adapters"), vars(module).get("_active_adapter")) for module in modules],
        "owner": forward_owner(),
        "calls": vars(of_calls) and {name: value for name, value in vars(of_calls).items() if value != (None, None)},
        "masks": getattr(grouped_attention._forward, "masks", None),
        "users": [dict(patch.users) for patch in (grouped_attention._patch, skinny_linear._patch)],
    }


def faults(
    call: Callable[[], Tensor], plain: Callable[[], Tensor], models: Sequence[nn.Module], chosen: slice = slice(None)
) -> Iterator[str]:
    """What an interrupt leaves behind, of all ``chosen`` points; the last line says how many there were.

    ``call`` gives what a fresh object gives when nothing has happened, and so does ``plain``, which has nothing of the library.
    """
    expected, unaided, before = call(), plain(), state(models)
    tried = 0
    for point in points(call)[chosen]:
        if not interrupted(call, point):
            continue
        tried += 1
        if (after := state(models)) != before:  # an object that the call made takes its hooks with it when it is collected
            gc.collect()
            after = state(models)
        yield from (f"{point}: {name} {after[name]} instead of {value}" for name, value in before.items() if after[name] != value)
        for name, again, value in ("plain generate", plain, unaided), ("the next call", call, expected):
            try:
                found = again()
                if not torch.equal(found, value):
                    yield f"{point}: {name} gives other tokens"
            except Exception as error:
                yield f"{point}: {name} raises {error!r}"
    yield f"{tried} interrupts"
