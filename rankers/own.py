"""Somebody's own ranker as a row: ``package.module:Class`` or ``file.py:Class``, a subclass of ``Ranker``."""

from __future__ import annotations

import inspect

from counterpoint.decoders.choosing.own import FILLED, origin, parameters_of, resolve, summary
from counterpoint.decoders.choosing.rows import RankerRow


def own_ranker(target: str) -> RankerRow:
    """The row of somebody's own ranker.

    Raises:
        ValueError: If there is no such class, or it is not a ranker.
    """
    from counterpoint.rankers.base import Ranker

    found = resolve(target)
    if not (isinstance(found, type) and issubclass(found, Ranker)):
        raise ValueError(f"{target} is not a class of counterpoint.rankers.Ranker")
    needs = ("model",) if {"model", "tokenizer"} & inspect.signature(found).parameters.keys() else ()
    return RankerRow(target, summary(found), target, parameters_of(found, (*FILLED, "device")), needs, origin=origin(target))
