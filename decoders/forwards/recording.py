"""What a forward over given texts leaves: logits, and the states of early layers, at chosen positions alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from counterpoint.decoders.forwards.hooks import first_input
from counterpoint.decoders.forwards.layers import decoder_layers
from counterpoint.decoders.hf.hooked import hooked
from counterpoint.decoders.hf.unembedding import narrowed_unembedding
from counterpoint.decoders.undoing import Change, together

Positions = Sequence[tuple[int, int]]
"""A text, and the number of its continuation's tokens before the position."""


class ForwardOutputs(NamedTuple):
    """What a model says at P positions."""

    logits: Float[Tensor, "positions vocabulary"]
    states: dict[int, Float[Tensor, "positions hidden"]]
    """The states that enter each layer; layer N is the unembedding."""


def recorded_states(
    model: PreTrainedModel,
    layers: Sequence[int],
    narrow: Callable[[Tensor], Tensor],
    states: dict[int, Float[Tensor, "positions hidden"]],
) -> Change:
    """While it lasts, one forward unembeds ``narrow(hidden)`` only, and ``states`` get what enters ``layers``, narrowed too."""
    thread = threading.get_ident()

    def enter(layer: int) -> Any:
        def hook(module: torch.nn.Module, arguments: tuple[Any, ...], *keywords: Any) -> None:
            if threading.get_ident() == thread:
                states[layer] = narrow(first_input("hidden_states", arguments, *keywords))[0]

        return hook

    def unembedded(hidden: Tensor) -> Tensor:
        hidden = narrow(hidden)
        if layers:
            states[depth] = hidden[0]
        return hidden

    modules: Sequence[torch.nn.Module] = list(decoder_layers(model)) if layers else []
    depth = len(modules)
    hooks = [partial(modules[n].register_forward_pre_hook, enter(n), with_kwargs=True) for n in set(layers) if n < depth]
    return together(hooked(*hooks), narrowed_unembedding(model, unembedded))
