"""Last hidden states of whole texts, gathered from the forwards that ``generate`` runs anyway."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from counterpoint.decoders.forwards.hooks import first_input, watch_inputs, watch_output
from counterpoint.decoders.forwards.layer_tap import check_not_compiled
from counterpoint.decoders.forwards.layers import decoder_layers
from counterpoint.decoders.forwards.prefix_cache import common_beginning
from counterpoint.decoders.forwards.ragged import padded
from counterpoint.decoders.hf.caches import CACHE, cached_length, find_cache
from counterpoint.decoders.hf.devices import ids_device
from counterpoint.decoders.hf.fixed_shapes.compiled import eager
from counterpoint.decoders.hf.generate_call import among_processors, current_call
from counterpoint.decoders.hf.positions import position_arguments
from counterpoint.decoders.hf.side_forward import side_forward
from counterpoint.decoders.undoing import together


@dataclass
class Part:
    """States ``[rows, new, hidden]`` of one forward's tokens, which follow ``start`` others, and the call that ran it, if any."""

    call: weakref.ref[Any] | None
    start: int
    ids: Tensor | None
    states: Tensor


@dataclass
class Texts:
    """Rows, and the states of all their tokens, of which ``call`` ran the forwards."""

    call: weakref.ref[Any] | None
    ids: Tensor
    seen: Tensor
    states: Tensor


class TextStates:
    """Remembers the last hidden states (after the final norm) of every row's tokens, for each thread by itself.

    Beams may change places and drafts be taken back: what is known of a row is found by its ids. The hooks live as long as this
    object; a copy has hooks of its own, on its own model.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.name = type(model).__name__
        self.local = threading.local()
        self.model, self.decoder = model, decoder_of(model)
        self.owner: object | None = None
        watch_inputs(self, self.decoder, TextStates._begin)
        watch_output(self, self.decoder, TextStates._end)

    def __reduce__(self) -> tuple[Any, ...]:
        return TextStates, (self.model,)

    def _begin(self, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        self.local.foreign = among_processors()
        if not self.local.foreign:
            self.local.start = cached_length(find_cache(keywords))

    def _end(self, arguments: tuple[Any, ...], keywords: Mapping[str, Any], output: Any) -> None:
        if output is not None and not self.local.foreign:
            call = current_call()
            ids = first_input("input_ids", arguments, keywords)
            self.local.latest = Part(None if call is None else weakref.ref(call), self.local.start, ids, output[0])

    def __call__(
        self, input_ids: Int[Tensor, "rows length"], seen: Bool[Tensor, "rows length"]
    ) -> Float[Tensor, "rows length hidden"]:
        """The states of all tokens, in float32.

        Raises:
            ValueError: If the latest forward did not read the end of these texts, or one before it not their beginning.
        """
        latest: Part | None = getattr(self.local, "latest", None)
        if latest is None or (latest.call and latest.call()) is not current_call():
            check_not_compiled(self.model)
            raise ValueError(f"no forward of {self.name} precedes: is this the model that generates?")
        length, read = input_ids.shape[1], latest.states.shape[1]
        start = length - 1 if read == 1 else latest.start  # a recurrent cache does not say how much it holds
        same = latest.ids is None or torch.equal(latest.ids[:, : length - start], input_ids[:, start : start + read])
        if start >= length or not same:
            check_not_compiled(self.model)
            raise ValueError(f"the latest forward of {self.name} did not read these ids: is this the model that generates?")
        new = latest.states[:, : length - start].float()
        known = [self._known(input_ids[:, :start], seen[:, :start]).to(new.device)] if start else []
        states = torch.cat([*known, new], dim=1)  # a copy: compiled models may write to what they gave
        self.local.texts = Texts(latest.call, input_ids.clone(), seen, states)
        return states

    def of_texts(self, texts: Sequence[Sequence[int]]) -> Float[Tensor, "texts width hidden"]:
        """The states of given texts by one forward of their own, padded on the right, where no causal model can see it."""
        ids, mask = padded(texts, device=ids_device(self.model))
        with together(side_forward(self), eager(self.model)) as own, own:
            order = position_arguments(self.decoder, mask.bool())
            states: Tensor = self.decoder(input_ids=ids, attention_mask=mask, use_cache=False, **order)[0]
        return states.float()

    def _known(self, ids: Tensor, seen: Tensor) -> Tensor:
        """States of texts that were read before."""
        texts: Texts | None = getattr(self.local, "texts", None)
        if texts is not None and (texts.call and texts.call()) is current_call():
            common, rows = common_beginning(texts.ids, texts.seen, ids, seen)
            if int(common.min()) == ids.shape[1]:
                return texts.states[rows.to(texts.states.device), : ids.shape[1]]
        raise ValueError(
            f"the first {ids.shape[1]} tokens were read before this generate() or in parts: their states are not known; leave out "
            f"{CACHE} and prefill_chunk_size"
        )


def decoder_of(model: PreTrainedModel) -> nn.Module:
    """The module whose output are the last hidden states: the one that holds the layers."""
    layers = decoder_layers(model)
    return next(module for module in model.modules() if any(child is layers for child in module.children()))
