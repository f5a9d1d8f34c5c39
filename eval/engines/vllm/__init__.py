"""Contrasts inside vLLM: a logits processor for its V1 interface, and one for V2 that could not be run.

vLLM is imported when a class is first asked for. There is no entry point: both of vLLM's loaders would load every class of one.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

CLASSES = {"ContrastProcessor": "v1", "ContrastProcessorV2": "v2"}


def __getattr__(name: str) -> Any:
    """A class from the module that needs vLLM."""
    if name not in CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{CLASSES[name]}"), name)
