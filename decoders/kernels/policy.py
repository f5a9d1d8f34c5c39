"""Which kernels may be used: ``COUNTERPOINT_KERNELS``, a file of choices, or what a run has recorded.

``plain`` takes torch's own product everywhere; ``measured``, the default, whatever is faster on this machine; ``packed`` may also
keep packed copies of weights in memory; anything else is a file that ``counterpoint kernels --output FILE`` has written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from counterpoint.decoders.undoing import Change

VARIABLE = "COUNTERPOINT_KERNELS"
NAMES = ("plain", "transposed", "onednn", "packed")
"""The kernels; :mod:`~counterpoint.decoders.kernels.products` has them."""


@dataclass(frozen=True, eq=False)
class Policy:
    """Where a product's kernel comes from."""

    fixed: Mapping[str, str] | None = None
    """The kernel of each product by its name, plain where it has none; None if kernels are measured."""
    packed: bool = False
    """Whether packed copies of weights may be measured and kept."""


def policy() -> Policy:
    """The policy that holds now.

    Raises:
        ValueError: If the environment variable names neither a policy nor a file of choices.
    """
    return _pinned[-1] if _pinned else named_policy(os.environ.get(VARIABLE, "measured"))


_pinned: list[Policy] = []


def pinned(own: Policy) -> Change:
    """While it lasts, this policy holds for all threads, whatever the environment says."""

    def undo() -> None:
        _pinned[:] = [other for other in _pinned if other is not own]

    return Change(lambda: _pinned.append(own), undo)


@lru_cache
def named_policy(value: str) -> Policy:
    """What a value of the environment variable says; a file is read once.

    Raises:
        ValueError: If it says nothing.
    """
    simple = {"plain": Policy(fixed={}), "measured": Policy(), "packed": Policy(packed=True)}
    return simple[value] if value in simple else Policy(fixed=read_kernels(Path(value)))


def read_kernels(path: Path) -> dict[str, str]:
    """The kernels by product that a file of ``counterpoint kernels`` holds.

    Raises:
        ValueError: If it is no such file.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["kernels"]
        kernels = {str(product): str(name) for product, name in found.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{VARIABLE}={path}: pass plain, measured, packed or a file that `counterpoint kernels --output FILE` has written "
            f"({type(error).__name__}: {error})"
        ) from error
    if unknown := sorted({*kernels.values()} - {*NAMES}):
        raise ValueError(f"{VARIABLE}={path} names {', '.join(unknown)}: this release has the kernels {', '.join(NAMES)}")
    return kernels
