"""Models that ``torch.compile`` has compiled."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedModel

from counterpoint.decoders.undoing import Change, together

is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", lambda: False)
"""Whether ``torch.export`` traces, which nobody can tell before torch 2.7."""

_lock = threading.Lock()
_users: set[object] = set()
"""The contexts that are open."""
_stances: list[Any] = []
"""What the first of them has changed: the compiler's stance, which is one for all threads."""


def is_compiled(model: nn.Module) -> bool:
    """Whether ``model`` or a module in it was compiled, by ``compile()`` or as its ``forward``."""
    if "torch._dynamo" not in sys.modules:
        return False
    return any(map(is_itself_compiled, model.modules()))


def is_itself_compiled(module: nn.Module) -> bool:
    """Whether this very module was compiled, by ``compile()`` or as its ``forward``."""
    return module._compiled_call_impl is not None or hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable")


def compiles_itself(model: nn.Module) -> bool:
    """Whether ``generate`` has compiled the forward by itself, as it does on accelerators with a static cache."""
    return "_compiled_call" in vars(model)


def compiled_call(model: PreTrainedModel, config: GenerationConfig, model_kwargs: Mapping[str, Any]) -> Callable[..., Any] | None:
    """The compiled forward that ``generate`` would run with the cache in ``model_kwargs``; None if it compiles nothing there."""
    generative: Any = model
    if generative._valid_auto_compile_criteria(model_kwargs, config):
        call: Callable[..., Any] = generative.get_compiled_call(config.compile_config)
        return call
    return model if is_compiled(model) else None


def eager(model: nn.Module, compiled: bool | None = None) -> Change:
    """While it lasts, a model that is compiled (None: if it is) runs as it was before, so that hooks see what they have to see."""
    if not (is_compiled(model) if compiled is None else compiled):
        return together()
    user = object()

    def make() -> None:
        with _lock:
            _users.add(user)
            if not _stances:
                _stances.append(torch.compiler.set_stance("force_eager"))

    def undo() -> None:
        with _lock:
            _users.discard(user)
            if not _users and _stances:
                _stances[0].__exit__(None, None, None)
                _stances.clear()

    return Change(make, undo)
