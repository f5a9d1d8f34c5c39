"""Whether a model's weights are those of before, as far as that can be seen without reading them."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from itertools import chain
from typing import Any

from torch import Tensor, nn

from counterpoint.decoders.hf.wrappers import adapter_states


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


def version_of(tensor: Tensor) -> int | None:
    """How often a tensor was changed in place, as far as it counts; None for one made under ``inference_mode``, which does not."""
    return None if tensor.is_inference() else tensor._version


def place_of(tensor: Tensor) -> int | None:
    """Where a tensor's numbers lie; None where they lie elsewhere: subclasses (sharded, quantised) have no storage of their own."""
    return (tensor.data_ptr() or None) if type(tensor) in (Tensor, nn.Parameter) else None


def _traces(tensor: Tensor) -> Iterator[Any]:
    yield from (tensor.dtype, tensor.device)
    yield version_of(tensor)
    yield place_of(tensor)
