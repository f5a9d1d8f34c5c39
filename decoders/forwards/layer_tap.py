"""Hidden states of chosen layers, from the forward that ``generate`` runs anyway."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from counterpoint.decoders.forwards.hooks import Inputs, first_input, watch_inputs
from counterpoint.decoders.forwards.layers import decoder_layers, depth_of
from counterpoint.decoders.hf.caches import cached_length, find_cache
from counterpoint.decoders.hf.fixed_shapes.compiled import compiles_itself, is_compiled
from counterpoint.decoders.hf.generate_call import among_processors, current_call
from counterpoint.decoders.hf.places import Places

KEPT = 128
"""Positions kept of a forward: one in plain decoding, all drafted tokens where several are verified at once."""


@dataclass
class Pass:
    """What is kept of a forward."""

    ids: Tensor | None
    start: int
    """Number of tokens before the forward's first one."""
    states: dict[int, Tensor] = field(default_factory=dict)
    call: weakref.ref[Any] | None = None
    """The call that ran the forward; None in loops other than ``generate``."""
    expected: bool = False
    """Whether the forward before was asked for early exits, so that this one will be."""
    asked: bool = False
    unembedded: Tensor | None = None
    """The logits of early states that the head made in this forward: ``[layers, rows, vocabulary]``, in float32."""
    last: Tensor | None = None
    """Those of the last state from the same product: ``[rows, vocabulary]``, in float32."""


class Latest(threading.local):
    """What each thread's latest forward left."""

    forward: Pass | None = None
    foreign: bool = False
    """Whether that forward is another logits processor's."""


class LayerTap:
    """Remembers the hidden states that enter ``layers`` in the latest forward of ``model``, for each thread by itself.

    Layer N, one more than the last, stands for the unembedding, which the states enter after the final norm.

    Forwards that belong to ``owner`` are watched, and no others: None stands for those of ``generate``, an amateur for its own.
    Those that another logits processor runs (classifier-free guidance) are not ``generate``'s. The hooks live as long as this
    object; a copy has hooks of its own, on its own model.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int], owner: object | None = None) -> None:
        self.model, self.name, self.depth = model, type(model).__name__, depth_of(model)
        self.layers = tuple(layers)
        self.latest = Latest()
        self.owner = owner
        self.lock = threading.Lock()
        self.watched: dict[int, tuple[Any, Callable[[], object]]] = {}
        """The module that is watched at each layer, and the function that ends the watching."""
        self.places: Places | None = None
        self._follow()
        watch_inputs(self, model, LayerTap._begin)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.model, self.layers, self.owner)

    @property
    def modules(self) -> nn.ModuleList:
        """The layers of the model."""
        return decoder_layers(self.model, self.depth)

    def _follow(self) -> None:
        """Watch the layers and the head that the model has now: PEFT and resized embeddings put others in their places."""
        if self.places is not None and self.places.hold():
            return
        modules = [*self.modules, self.model.get_output_embeddings()]
        with self.lock:
            for layer, see in self._seen_at().items():
                module, end = self.watched.get(layer, (None, lambda: None))
                if module is not modules[layer]:
                    end()
                    self.watched[layer] = modules[layer], watch_inputs(self, modules[layer], see)
            self.places = Places(self.model, modules)

    def _seen_at(self) -> dict[int, Callable[..., Inputs | None]]:
        """What is called before each of the layers."""
        return {layer: partial(LayerTap._enter, layer=layer) for layer in self.layers}

    def _begin(self, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        self.latest.foreign = self.owner is None and among_processors()
        if self.latest.foreign:
            return
        self._follow()
        before = self.latest.forward
        ids, start, call = first_input("input_ids", arguments, keywords), cached_length(find_cache(keywords)), current_call()
        expected = before is not None and before.asked
        self.latest.forward = Pass(ids, start, call=None if call is None else weakref.ref(call), expected=expected)

    def _enter(self, arguments: tuple[Any, ...], keywords: Mapping[str, Any], layer: int) -> None:
        latest = self.latest.forward
        if latest is not None and not self.latest.foreign and layer not in latest.states:  # early exits call the head later
            hidden = first_input("hidden_states", arguments, keywords)
            latest.states[layer] = hidden if hidden.shape[1] <= KEPT else hidden[:, -KEPT:].clone()

    def states(self, input_ids: Int[Tensor, "rows length"]) -> Float[Tensor, "layers rows hidden"]:
        """The states that predict the token after ``input_ids``.

        Raises:
            ValueError: If the latest forward on this thread was not part of this call, or did not read exactly these tokens.
        """
        latest = self.latest.forward
        call = current_call()
        if latest is None or len(latest.states) < len(set(self.layers)) or (latest.call and latest.call()) is not call:
            check_not_compiled(self.model)
            raise ValueError(f"no forward of {self.name} through all its layers precedes: is this the model that generates?")
        index = self._index(latest, input_ids)
        device = latest.states[self.layers[-1]].device
        kept = {layer: states[:, index].to(device) for layer, states in latest.states.items()}
        return torch.stack([kept[layer] for layer in self.layers])

    def _index(self, latest: Pass, input_ids: Tensor) -> int:
        """Position, from the end of the forward, of the last of ``input_ids``; ids tell a stale forward."""
        if latest.ids is None:  # inputs_embeds: the prompt
            return -1
        length = latest.ids.shape[1]
        before = 0 if length == 1 else input_ids.shape[1] - latest.start  # of the forward's tokens, those that are in input_ids
        read = latest.ids if length == 1 else latest.ids[:, :before]
        tail = input_ids[:, -read.shape[1] :].to(read.device)
        if read.shape[1] == 0 or read.shape != tail.shape or not torch.equal(read, tail):
            check_not_compiled(self.model)
            raise ValueError(f"the latest forward of {self.name} did not read these ids: is this the model that generates?")
        return read.shape[1] - 1 - length


def check_not_compiled(model: PreTrainedModel) -> None:
    """Explain a forward that no hook saw, where compilation is the reason.

    Raises:
        ValueError: If the model was compiled, by its user or by ``generate`` itself.
    """
    if compiles_itself(model):
        raise ValueError(
            f"generate compiles {type(model).__name__} for a static cache, and compiled code shows nothing of its layers; "
            "pass disable_compile=True, or leave out cache_implementation"
        )
    if is_compiled(model):
        raise ValueError(
            f"{type(model).__name__} is compiled, and what was compiled before a decoder was made shows it nothing of its layers; "
            "call torch.compiler.reset() now, or generate within torch.compiler.set_stance('force_eager')"
        )
