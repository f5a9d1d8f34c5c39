"""Somebody's own metric: ``package.module:function`` or ``file.py:function``, called with texts, references and prompts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

from counterpoint.decoders.choosing.grammar import OWN
from counterpoint.decoders.choosing.own import origin, resolve, summary
from counterpoint.eval.bench.metric_models import MetricModels
from counterpoint.eval.bench.metrics import METRICS, Column, Group, Measured, Metric, mean, terms


def metric_named(name: str) -> Metric:
    """The metric of a name, or somebody's own.

    Raises:
        ValueError: If there is no such module, file or function.
    """
    return METRICS[name] if name in METRICS else own_metric(name)


def is_own(name: str) -> bool:
    """Whether a name is that of somebody's own code."""
    return OWN.fullmatch(name) is not None


def own_metric(target: str) -> Metric:
    """The metric that a function ``f(texts, references, prompts)`` computes.

    It gives one number for each text, nan where a text has none, or one number for all of them; the table then shows their mean,
    with an interval and tests against the first decoder, or the number.

    Raises:
        ValueError: If there is no such function.
    """
    function = resolve(target)
    if not callable(function):
        raise ValueError(f"{target} is not a function f(texts, references, prompts)")
    name = target.rpartition(":")[2]
    column = Column(name, "human", mean, detail=False)
    return Metric(target, f"{summary(function)} ({origin(target)})", {name: column}, partial(measured, function, name))


def measured(function: Any, name: str, group: Group, models: MetricModels) -> Measured:
    """What the function makes of a decoder's texts.

    Raises:
        ValueError: If it fails, or gives neither a number nor one for each text, or an infinite one.
    """
    try:
        found = function(list(group.texts), list(group.references), list(group.prompts))
    except Exception as error:  # somebody's own code may raise anything, and other metrics are not to be lost by it
        raise ValueError(f"{name} raised {type(error).__name__}: {error}") from error
    if isinstance(found, int | float) and not isinstance(found, bool):
        if not math.isfinite(found):
            raise ValueError(f"{name} gave {found} for these texts")
        return {name: float(found)}
    if not isinstance(found, Iterable):
        raise ValueError(f"{name} gave {type(found).__name__}, neither a number nor one for each text")
    values = [float(value) for value in found]
    if len(values) != len(group.texts):
        raise ValueError(f"{name} gave {len(values)} numbers for {len(group.texts)} texts; give one for each, or one for all")
    if infinite := [place for place, value in enumerate(values) if math.isinf(value)]:
        raise ValueError(f"{name} gave {values[infinite[0]]} for text {infinite[0]}; give nan where a text has no figure")
    if all(map(math.isnan, values)):
        raise ValueError(f"{name} is undefined for all of these texts")
    return {name: terms(values)}
