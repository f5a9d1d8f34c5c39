"""Early exits' logits, from the product that unembeds the last layer wherever that saves reading the head again."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from counterpoint.decoders.forwards.hooks import watch_inputs, watch_output
from counterpoint.decoders.forwards.layer_tap import LayerTap, Pass
from counterpoint.decoders.forwards.layers import EarlyExits
from counterpoint.decoders.hf.side_forward import forward_owner
from counterpoint.decoders.kernels.skinny_linear import is_plain, skinny_forward


class ExitTap(LayerTap):
    """A tap that knows what the model would say if it ended at its layers.

    The head is the largest matrix of a small model, and reading it is what a step of one token pays for. So in such a step early
    states pass the head together with the last one, where the head is a plain float32 layer on a CPU (the case in which the joint
    product was measured to cost little more than that of the last state) and where the step before was asked for its exits.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int], exits: EarlyExits, owner: object | None = None) -> None:
        super().__init__(model, layers, owner)
        self.exits = exits
        self.joined: set[nn.Module] = set()
        """Heads that compute the exits too, in forwards under way."""
        watch_inputs(self, model, lambda tap, *_: tap.fuse())
        watch_output(self, model, lambda tap, *_: tap.restore())
        weakref.finalize(self, give_back, self.joined)

    def logits(self, input_ids: Int[Tensor, "rows length"]) -> Float[Tensor, "layers rows vocabulary"]:
        """Logits of the exits for the token after ``input_ids``, in float32.

        Raises:
            ValueError: As for :meth:`~counterpoint.decoders.forwards.layer_tap.LayerTap.states`.
        """
        states = self.states(input_ids)
        latest: Any = self.latest.forward  # which was checked
        latest.asked = True
        return self.exits(states) if latest.unembedded is None else self.exits.rescale(latest.unembedded)

    def fuse(self) -> None:
        """Before a forward, let the head compute the exits too, unless something other than a tap has taken it over."""
        latest = self.latest.forward
        if self.latest.foreign or latest is None or not latest.expected:
            return
        head = self.exits.head
        if is_plain(head) and isinstance(vars(head).get("forward"), FusedHead | None):
            latest.joined = True
            self.joined.add(head)
            vars(head)["forward"] = FusedHead(self, head)

    def restore(self) -> None:
        """After the forward, give the head back."""
        latest = self.latest.forward
        if latest is not None and latest.joined:
            give_back(self.joined)

    def unembed(self, head: Any, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch vocabulary"]:
        """The head's product; in a joined forward of one token the early states', which are kept, with it."""
        latest = self.latest.forward  # of this thread, which need not be the one that joined
        if latest is None or not latest.joined or forward_owner() is not self.owner or not self.complete(latest, hidden):
            return nn.functional.linear(hidden, head.weight, head.bias)
        early = self.exits.normed(torch.stack([latest.states[layer] for layer in self.layers]))
        product = skinny_forward(head, torch.cat([hidden[None], early]))
        latest.unembedded = product[1:, :, -1]
        return product[0]

    def complete(self, latest: Pass, hidden: Float[Tensor, "*batch width"]) -> bool:
        """Whether the head is given the last state of one token whose early states have all been seen."""
        shapes = {states.shape[:-1] for states in latest.states.values()}  # RWKV's layers widen a batch's single token
        return len(latest.states) == len(set(self.layers)) and shapes == {hidden.shape[:-1]} == {(len(hidden), 1)}


class FusedHead:
    """The forward of a head that a tap has joined; an interrupted forward may leave it behind, when it is the head's own."""

    def __init__(self, tap: ExitTap, head: nn.Module) -> None:
        self.tap, self.head = weakref.ref(tap), head

    def __call__(self, hidden: Tensor) -> Tensor:
        """The product of the head."""
        tap = self.tap()
        head: Any = self.head
        return nn.functional.linear(hidden, head.weight, head.bias) if tap is None else tap.unembed(head, hidden)


def give_back(heads: set[nn.Module]) -> None:
    """Let joined heads be their own again."""
    while heads:
        head = heads.pop()
        if isinstance(vars(head).get("forward"), FusedHead):
            vars(head).pop("forward", None)
