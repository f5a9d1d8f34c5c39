"""Models that ``torch.compile`` has compiled: their code shows no hook the states that pass through it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

_lock = threading.Lock()
_stances: list[Any] = []
"""One for each context that is open; the first has changed the compiler's stance, which is one for all threads."""


def is_compiled(model: nn.Module) -> bool:
    """Whether ``model`` or a module in it was compiled, by ``compile()`` or as its ``forward``."""
    if "torch._dynamo" not in sys.modules:
        return False
    return any(
        module._compiled_call_impl is not None or hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable")
        for module in model.modules()
    )


@contextmanager
def eager(model: nn.Module) -> Iterator[None]:
    """Within the context, a compiled model runs as it was before, so that hooks see what they have to see."""
    if not is_compiled(model):
        yield
        return
    with _lock:
        _stances.append(None if _stances else torch.compiler.set_stance("force_eager"))
    try:
        yield
    finally:
        with _lock:
            first = _stances[0]
            _stances.pop()
            if not _stances:
                first.__exit__(None, None, None)
