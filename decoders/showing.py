"""How decoders and amateurs are shown: by name, settings and what they work on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import BuiltinFunctionType, FunctionType
from typing import Any

from torch import nn


class Shown:
    """An object that is shown with its public attributes, as far as they are settings, models or shown themselves.

    Example:
        >>> class Decoder(Shown):
        ...     def __init__(self, alpha: float, form: object) -> None:
        ...         self.alpha, self.form = alpha, form
        >>> Decoder(0.1, partial(max, default=0))
        Decoder(alpha=0.1, form=max(default=0))
    """

    def __repr__(self) -> str:
        """The name of the class, and the settings in the order in which they were set."""
        found = {name: shown(value) for name, value in vars(self).items() if not name.startswith("_")}
        return f"{type(self).__name__}({listed({name: text for name, text in found.items() if text})})"


def shown(value: Any) -> str:
    """A setting as it would be written, a model by its class; "" for what is neither."""
    if isinstance(value, nn.Module):
        return type(value).__name__
    if isinstance(value, bool | int | float | str | Shown):
        return repr(value)
    if isinstance(value, partial):
        return f"{shown(value.func)}({listed({name: shown(each) for name, each in value.keywords.items()})})"
    if isinstance(value, Sequence):
        parts = [shown(each) for each in value]
        return f"[{', '.join(parts)}]" if parts and all(parts) else ""
    return value.__qualname__ if isinstance(value, FunctionType | BuiltinFunctionType) else ""


def listed(settings: Mapping[str, str]) -> str:
    """Names and values in a line."""
    return ", ".join(f"{name}={value}" for name, value in settings.items())
