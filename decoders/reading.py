"""What a contrast is read from: other models' logits and early hidden states, at the positions whose scores it changes.

In generation that is the position after the ids so far, in scoring every position of the given texts. A contrast that asks a
:class:`Reading` computes both, by the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from counterpoint.decoders.amateurs import Amateur, ModelAmateur
from counterpoint.decoders.layer_tap import LayerTap


@runtime_checkable
class Reading(Protocol):
    """What other distributions and early layers say at the positions of some scores ``[positions, vocabulary]``."""

    def logits(self, amateur: Amateur) -> Float[Tensor, "positions vocabulary"]:
        """The amateur's logits."""

    def states(self, tap: LayerTap) -> Float[Tensor, "layers positions hidden"]:
        """Hidden states entering its layers, in the forward that gave the scores, or its owner's logits if an amateur owns it."""


@runtime_checkable
class Contrast(Protocol):
    """A logits processor that can also score given texts at once."""

    taps: Sequence[LayerTap]
    """The taps whose states it asks for."""

    def contrasted(self, reading: Reading, scores: Float[Tensor, "positions vocabulary"]) -> Float[Tensor, "positions vocabulary"]:
        """Its scores, each position's by itself."""


class NextToken:
    """The :class:`Reading` of generation: one position a row, after ``input_ids``."""

    def __init__(self, input_ids: Int[Tensor, "rows length"]) -> None:
        self.input_ids = input_ids

    def logits(self, amateur: Amateur) -> Float[Tensor, "rows vocabulary"]:
        """See :class:`Reading`."""
        return amateur.logits(self.input_ids)

    def states(self, tap: LayerTap) -> Float[Tensor, "layers rows hidden"]:
        """See :class:`Reading`."""
        amateur = tap.owner
        return tap.states(amateur.text(self.input_ids)[0] if isinstance(amateur, ModelAmateur) else self.input_ids)
