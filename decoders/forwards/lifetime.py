"""How long what was computed from a model's weights may be used.

Nothing outlives the call for which it was computed: when a new ``generate`` or a new scoring of texts begins, all of it goes.
Weights may have changed in ways that leave no trace: ``parameter.data.add_`` changes neither identity nor version, and PEFT merges
adapters that way. Other loops have no beginning that could be seen, and the rounds of a ranker belong to one scoring; there it
goes when a weight is another tensor, has another version, place, dtype or device, or when other adapters are active.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from itertools import chain
from typing import Any

from torch import Tensor, nn
from transformers import GenerationConfig

from counterpoint.decoders.hf.generate_call import current_call
from counterpoint.decoders.hf.wrappers import adapter_states


class Lifetime:
    """The life of what an object keeps of ``model``.

    Example:
        >>> import torch
        >>> lifetime = Lifetime(model := torch.nn.Linear(2, 2))
        >>> lifetime.ended(), lifetime.ended()
        (True, False)
        >>> with torch.no_grad():
        ...     _ = model.weight.add_(1.0)
        >>> lifetime.ended()
        True
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.call: weakref.ref[Any] | None = None
        self.weights: Weights | None = None

    def ended(self) -> bool:
        """Whether a new life begins, because another call is in progress than the last time, or the weights are others."""
        call, known, before = current_call(), None if self.call is None else self.call(), self.weights
        self.call = None if call is None else weakref.ref(call)
        self.weights = None if isinstance(call, GenerationConfig) else Weights(self.model)
        if call is not known:
            return True
        return self.weights is not None and (before is None or not self.weights.same(before))


class Weights:
    """What can be seen of the weights of ``model`` without reading them."""

    def __init__(self, model: nn.Module) -> None:
        tensors = list(chain(model.parameters(), model.buffers()))
        self.tensors = [weakref.ref(tensor) for tensor in tensors]  # an identity alone may be given to another tensor
        self.traces = [*map(tuple, map(_traces, tensors)), *adapter_states(model)]

    def same(self, other: Weights) -> bool:
        """Whether nothing can be seen to have changed."""
        alive = all(own() is not None and own() is known() for own, known in zip(self.tensors, other.tensors, strict=False))
        return alive and len(self.tensors) == len(other.tensors) and self.traces == other.traces


def _traces(tensor: Tensor) -> Iterator[Any]:
    yield from (tensor.dtype, tensor.device)
    yield None if tensor.is_inference() else tensor._version
    yield tensor.data_ptr() if type(tensor) in (Tensor, nn.Parameter) else None  # subclasses may have no storage of their own
