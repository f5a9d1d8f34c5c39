"""Early exits' logits, from the product that unembeds the last layer wherever that saves reading the head again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel
from typing_extensions import override

from counterpoint.decoders.forwards.hooks import Inputs
from counterpoint.decoders.forwards.layer_tap import LayerTap, Pass
from counterpoint.decoders.forwards.layers import EarlyExits, Unembedding
from counterpoint.decoders.hf.fixed_shapes.compiled import is_itself_compiled
from counterpoint.decoders.kernels.choosing import choose
from counterpoint.decoders.kernels.skinny_linear import skinny_forward


class ExitTap(LayerTap):
    """A tap that knows what the model would say if it ended at its layers.

    The head is the largest matrix of a small model, and reading it is what a step of one token pays for. So in such a step early
    states pass the head together with the last one, where the head is a plain layer on a CPU (the case in which the joint
    product was measured to cost less than two) and where the step before was asked for its exits. They
    travel with the last state (:class:`Joined`): nothing of the model is changed, so that nothing has to be given back.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int], exits: EarlyExits, owner: object | None = None) -> None:
        self.exits = exits
        super().__init__(model, layers, owner)

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return ExitTap, (self.model, self.layers, self.exits, self.owner)

    def logits(self, input_ids: Int[Tensor, "rows length"]) -> Float[Tensor, "layers rows vocabulary"]:
        """Logits of the exits for the token after ``input_ids``, in float32.

        Raises:
            ValueError: As for :meth:`~counterpoint.decoders.forwards.layer_tap.LayerTap.states`.
        """
        states = self.states(input_ids)
        latest: Any = self.latest.forward  # which was checked
        latest.asked = True
        return self.exits(states) if latest.unembedded is None else latest.unembedded

    def last(self, input_ids: Int[Tensor, "rows length"]) -> Float[Tensor, "rows vocabulary"] | None:
        """Logits of the last layer as the forward left them, in float32; None where they were not made together with the exits'.

        Raises:
            ValueError: As for :meth:`~counterpoint.decoders.forwards.layer_tap.LayerTap.states`.
        """
        self.states(input_ids)
        latest = self.latest.forward
        return None if latest is None else latest.last

    @override
    def _seen_at(self) -> dict[int, Callable[..., Inputs | None]]:
        return {**super()._seen_at(), self.depth: ExitTap.join}

    def join(self, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Inputs | None:
        """Before the head, let the early states pass it too, unless something other than a tap has taken it over."""
        latest = self.latest.forward
        if latest is None or self.latest.foreign or not latest.expected or latest.unembedded is not None:
            return None
        if len(arguments) != 1 or not self.complete(latest, arguments[0]) or not (parts := self.exits.parts).skinny:
            return None
        head: Any = parts.head
        if is_itself_compiled(self.model) or is_itself_compiled(head):  # the head may run between graphs, or within one
            return None
        early = parts.normed(torch.stack([latest.states[layer] for layer in self.layers]))
        choose([head.weight], 1 + len(early))
        return (Joined.of(arguments[0], early, parts, latest),), dict(keywords)

    def complete(self, latest: Pass, hidden: Float[Tensor, "*batch width"]) -> bool:
        """Whether the head is given the last state of one token whose early states have all been seen."""
        shapes = {states.shape[:-1] for states in latest.states.values()}  # RWKV's layers widen a batch's single token
        return len(latest.states) == len(set(self.layers)) and shapes == {hidden.shape[:-1]} == {(len(hidden), 1)}


class Joined(Tensor):
    """The last state on its way to the head: multiplied by it, it takes early states along; to all else it is what it was."""

    early: Tensor
    parts: Unembedding
    latest: Pass

    @classmethod
    def of(cls, hidden: Tensor, early: Tensor, parts: Unembedding, latest: Pass) -> Joined:
        """The last state with the early ones, what they pass, and the forward that keeps what it makes of them."""
        joined = hidden.as_subclass(cls)
        joined.early, joined.parts, joined.latest = early, parts, latest
        return joined

    @classmethod
    @override
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if func is torch._C._nn.linear and isinstance(state := args[0], cls) and args[1] is state.parts.head.weight:
                parts: Any = state.parts
                product = skinny_forward(parts.head, torch.cat([state[None], state.early]), each=1 + len(state.early))
                state.latest.unembedded, state.latest.last = parts.rescale(product[1:, :, -1]), parts.rescale(product[0, :, -1])
                return product[0]
            return func(*args, **(kwargs or {}))
