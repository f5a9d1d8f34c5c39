"""How long what was computed from a model's weights may be used.

Nothing outlives the call for which it was computed: when a new ``generate`` or a new scoring of texts begins, all of it goes.
Weights may have changed in ways that leave no trace: ``parameter.data.add_`` changes neither identity nor version, and PEFT merges
adapters that way. Other loops have no beginning that could be seen, and the rounds of a ranker belong to one scoring; there it
goes when a weight is another tensor, has another version, place, dtype or device, or when other adapters are active.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from torch import nn
from transformers import GenerationConfig

from counterpoint.decoders.hf.generate_call import current_call
from counterpoint.decoders.hf.weights import Weights

Found = TypeVar("Found")


class OncePerCall(Generic[Found]):
    """What ``look`` finds out about a model, which its weights may decide: once for a call, outside of one whenever it is asked."""

    def __init__(self, look: Callable[[Any], Found]) -> None:
        self.look = look
        self.found: weakref.WeakKeyDictionary[nn.Module, list[tuple[weakref.ref[Any], Found]]] = weakref.WeakKeyDictionary()
        """What was found about each model, in each call that is still alive: two scorers may take turns."""

    def __call__(self, model: nn.Module) -> Found:
        """What was found in the call in progress, or is found now."""
        call = current_call()
        known = [(each, found) for each, found in self.found.get(model, ()) if each() is not None]
        for each, found in known:
            if each() is call:
                return found
        found = self.look(model)
        if call is not None:
            self.found[model] = [*known, (weakref.ref(call), found)]
        return found


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

    def __reduce__(self) -> tuple[Any, ...]:
        return Lifetime, (self.model,)

    def ended(self) -> bool:
        """Whether a new life begins, because another call is in progress than the last time, or the weights are others."""
        call, known, before = current_call(), None if self.call is None else self.call(), self.weights
        self.call = None if call is None else weakref.ref(call)
        self.weights = None if isinstance(call, GenerationConfig) else Weights(self.model)
        if call is not known:
            return True
        return self.weights is not None and (before is None or not self.weights.same(before))
