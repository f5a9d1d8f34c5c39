"""What a contrast is read from: other models' logits and early hidden states, at the positions whose scores it changes.

In generation that is the position after the ids so far, in scoring every position of the given texts. A contrast that asks a
:class:`SideOutputs` computes both, by the same lines.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor
from transformers import LogitsProcessor

from counterpoint.decoders.amateurs.models import Amateur, ModelAmateur
from counterpoint.decoders.forwards.exit_tap import ExitTap
from counterpoint.decoders.forwards.layer_tap import LayerTap
from counterpoint.decoders.hf.generate_call import current_generate_call


@runtime_checkable
class SideOutputs(Protocol):
    """What other distributions and early layers say at the positions of some scores ``[positions, vocabulary]``."""

    def logits(self, amateur: Amateur) -> Float[Tensor, "positions vocabulary"]:
        """The amateur's logits."""

    def states(self, tap: LayerTap) -> Float[Tensor, "layers positions hidden"]:
        """Hidden states entering its layers, in the forward that gave the scores, or its owner's logits if an amateur owns it."""

    def exits(self, tap: ExitTap) -> Float[Tensor, "layers positions vocabulary"]:
        """What those states say."""


class NextTokenOutputs:
    """The :class:`SideOutputs` of generation: one position a row, after ``input_ids``."""

    def __init__(self, input_ids: Int[Tensor, "rows length"]) -> None:
        self.input_ids = input_ids

    def logits(self, amateur: Amateur) -> Float[Tensor, "rows vocabulary"]:
        """See :class:`SideOutputs`."""
        return amateur.logits(self.input_ids)

    def states(self, tap: LayerTap) -> Float[Tensor, "layers rows hidden"]:
        """See :class:`SideOutputs`."""
        return tap.states(self._text(tap))

    def exits(self, tap: ExitTap) -> Float[Tensor, "layers rows vocabulary"]:
        """See :class:`SideOutputs`."""
        return tap.logits(self._text(tap))

    def _text(self, tap: LayerTap) -> Int[Tensor, "rows length"]:
        amateur = tap.owner
        return amateur.text(self.input_ids)[0] if isinstance(amateur, ModelAmateur) else self.input_ids


class DistributionProcessor(LogitsProcessor):
    """A logits processor that scores given texts at once by what it scores the next token by.

    Where an assistant drafts, it leaves ``scores`` as they are: the draft is the assistant's own, in other tokens it may be.
    """

    taps: Sequence[LayerTap] = ()
    """The taps whose states it asks for."""

    def __call__(
        self, input_ids: Int[Tensor, "rows length"], scores: Float[Tensor, "rows vocabulary"]
    ) -> Float[Tensor, "rows vocabulary"]:
        """Its scores of the next token, from logits or log-probabilities; in an assistant's draft, ``scores`` as they are."""
        call = current_generate_call()
        if call is not None and call.drafting:
            return scores
        return self.process(NextTokenOutputs(input_ids), scores)

    @abstractmethod
    def process(self, outputs: SideOutputs, scores: Float[Tensor, "positions vocabulary"]) -> Float[Tensor, "positions vocabulary"]:
        """Its scores, each position's by itself."""
