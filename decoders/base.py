"""The public base of decoders that define a distribution: one method serves generation and scoring.

What a decoder computes its scores from, beside the model's own, are other models' logits, early layers' states and the texts. In
generation these belong to one position a row, the one after the ids so far; in scoring to every position of the given texts. A
decoder asks :class:`SideOutputs` for them, and the same lines compute both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import LogitsProcessor
from typing_extensions import override

from counterpoint.decoders.amateurs.models import Amateur, ModelAmateur
from counterpoint.decoders.amateurs.prompts import prompt_width
from counterpoint.decoders.forwards.exit_tap import ExitTap
from counterpoint.decoders.forwards.layer_tap import LayerTap
from counterpoint.decoders.forwards.text_states import TextStates
from counterpoint.decoders.hf.generate_call import current_generate_call
from counterpoint.decoders.hf.padding import seen_tokens
from counterpoint.decoders.showing import Shown
from counterpoint.decoders.watching import current_watcher


@runtime_checkable
class SideOutputs(Protocol):
    """What a decoder may ask for at the positions whose scores ``[positions, vocabulary]`` it is given.

    Example:
        >>> from counterpoint.decoders import SideOutputs
        >>> from counterpoint.decoders.base import NextTokenOutputs
        >>> import torch
        >>> outputs = NextTokenOutputs(torch.tensor([[5, 6]]))
        >>> isinstance(outputs, SideOutputs), outputs.text()[0].tolist()
        (True, [[5, 6]])
    """

    def logits(self, amateur: Amateur) -> Float[Tensor, "positions vocabulary"]:
        """Logits of the amateur."""

    def states(self, tap: LayerTap) -> Float[Tensor, "layers positions hidden"]:
        """Hidden states entering the tap's layers, from the forward that gave the scores or, if an amateur owns it, its logits."""

    def exits(self, tap: ExitTap) -> Float[Tensor, "layers positions vocabulary"]:
        """Logits of the early exits at the tap's layers."""

    def last(self, early: ExitTap, final: LayerTap) -> Float[Tensor, "positions vocabulary"]:
        """Logits of the last layer, whose states ``final`` has seen, as they were before any processor changed them."""
        return early.exits.unembed(self.states(final)[0])

    def text(self) -> tuple[Int[Tensor, "positions length"], Bool[Tensor, "positions length"]]:
        """The tokens before each position, padded on the left, and which of them are text rather than padding."""

    def text_states(self, reader: TextStates) -> Float[Tensor, "positions length hidden"]:
        """Last hidden states of the tokens of :meth:`text`."""

    def new_tokens(self, prompt_length: int | None = None) -> Int[Tensor, "positions"]:
        """How many tokens follow the prompt before each position; ``prompt_length`` is for loops other than ``generate``."""


class NextTokenOutputs(SideOutputs):
    """The side outputs of generation: one position a row, after ``input_ids``.

    Args:
        input_ids: What a logits processor is given, ``[rows, length]``.
        attention_mask: The prompts' mask ``[prompts, length]`` for loops other than ``generate``, which has it.
    """

    def __init__(self, input_ids: Int[Tensor, "rows length"], attention_mask: Int[Tensor, "prompts length"] | None = None) -> None:
        self.input_ids, self.attention_mask = input_ids, attention_mask

    @override
    def logits(self, amateur: Amateur) -> Float[Tensor, "rows vocabulary"]:
        return amateur.logits(self.input_ids)

    @override
    def states(self, tap: LayerTap) -> Float[Tensor, "layers rows hidden"]:
        return tap.states(self._text_of(tap))

    @override
    def exits(self, tap: ExitTap) -> Float[Tensor, "layers rows vocabulary"]:
        return tap.logits(self._text_of(tap))

    @override
    def last(self, early: ExitTap, final: LayerTap) -> Float[Tensor, "rows vocabulary"]:
        joined = early.last(self._text_of(early))
        return super().last(early, final) if joined is None else joined

    @override
    def text(self) -> tuple[Int[Tensor, "rows length"], Bool[Tensor, "rows length"]]:
        if self.input_ids.shape[1] == 0:
            raise ValueError("input_ids are empty (inputs_embeds?): this decoder reads the prompt's tokens; pass input_ids as well")
        return self.input_ids, seen_tokens(None, self.input_ids, self.attention_mask)

    @override
    def text_states(self, reader: TextStates) -> Float[Tensor, "rows length hidden"]:
        return reader(*self.text())

    @override
    def new_tokens(self, prompt_length: int | None = None) -> Int[Tensor, "rows"]:
        new = self.input_ids.shape[1] - prompt_width(prompt_length)
        return torch.full((len(self.input_ids),), new, device=self.input_ids.device)

    def _text_of(self, tap: LayerTap) -> Int[Tensor, "rows length"]:
        amateur = tap.owner
        return amateur.text(self.input_ids)[0] if isinstance(amateur, ModelAmateur) else self.input_ids


class ExpertLogitsProcessor(Shown, LogitsProcessor, ABC):
    """A logits processor for the model that decides: while an assistant drafts, ``scores`` stay as they are.

    Assisted decoding calls the processors on the assistant's logits too. The draft is the assistant's own affair, perhaps in other
    tokens than the expert's, and each of its tokens is checked against the expert's scores anyway.

    It can be copied and pickled: a deep copy has its own copies of the models that it holds, and works with those.
    """

    @override
    def __call__(
        self, input_ids: Int[Tensor, "rows ..."], scores: Float[Tensor, "rows vocabulary"]
    ) -> Float[Tensor, "rows vocabulary"]:
        """Scores of the next token from logits or log-probabilities; in an assistant's draft ``scores`` as they are."""
        if input_ids.ndim != 2:
            raise ValueError(
                f"input_ids have shape {tuple(input_ids.shape)}: continuous batching (generate_batch) gives a processor the last "
                f"token of each row, and {type(self).__name__} reads texts; use generate()"
            )
        call = current_generate_call()
        return scores if call is not None and call.drafting else self.next_scores(input_ids, scores)

    @abstractmethod
    def next_scores(
        self, input_ids: Int[Tensor, "rows length"], scores: Float[Tensor, "rows vocabulary"]
    ) -> Float[Tensor, "rows vocabulary"]:
        """Scores of the token that follows ``input_ids``, from logits or log-probabilities."""


@dataclass(frozen=True)
class ContrastParts:
    """What the scores of some positions were made of.

    Example:
        >>> import torch
        >>> from counterpoint.decoders import ContrastParts
        >>> ContrastParts(scores=torch.tensor([[0.5, -torch.inf]]), positive=torch.zeros(1, 2)).plausible
        tensor([[ True, False]])
    """

    scores: Float[Tensor, "positions vocabulary"]
    """What the decoder chooses by."""
    positive: Float[Tensor, "positions vocabulary"]
    """Logits of the distribution to follow."""
    negative: Float[Tensor, "positions vocabulary"] | None = None
    """Logits of the distribution to stay away from, where the decoder has one."""
    choice: Mapping[str, Tensor] = field(default_factory=dict)
    """What was chosen at each position and why, by name: tensors ``[positions, ...]`` such as DoLa's ``layer``."""

    @property
    def plausible(self) -> Bool[Tensor, "positions vocabulary"]:
        """The tokens that can be chosen at all."""
        return self.scores > -torch.inf


class DistributionProcessor(ExpertLogitsProcessor):
    """The base of every decoder that defines a distribution over the next token, ours and anybody's.

    A subclass writes one method, :meth:`process`, which computes scores F(. | x) position by position. ``generate`` calls it
    through ``logits_processor=[...]`` for the next token of each row, :func:`~counterpoint.decoders.score` for all positions of
    given texts at once, and both give a text the same probability. Other distributions come from ``outputs``:
    ``outputs.logits(amateur)`` for an :class:`~counterpoint.decoders.Amateur`, ``outputs.exits(tap)`` for early layers,
    ``outputs.text()`` for the tokens so far and ``outputs.text_states(reader)`` for their states. What a subclass keeps between
    calls must not change its scores, since rows are reordered by beams, taken back by rejected drafts, and belong to one
    ``generate`` after another;
    :mod:`counterpoint.decoders.testing` has the tests of that.

    Example:
        >>> import torch
        >>> from counterpoint.decoders import DistributionProcessor
        >>> class TopNSigma(DistributionProcessor):
        ...     def __init__(self, *, n=1.0):
        ...         self.n = n
        ...
        ...     def process(self, outputs, scores):
        ...         threshold = scores.amax(-1, keepdim=True) - self.n * scores.std(-1, keepdim=True)
        ...         return scores.masked_fill(scores < threshold, -torch.inf)
        >>> TopNSigma()(torch.tensor([[5, 6]]), torch.tensor([[3.0, 2.5, 0.0]]))
        tensor([[3.0000, 2.5000,   -inf]])
    """

    taps: Sequence[LayerTap] = ()
    """The taps whose states or exits :meth:`process` asks for."""
    attention_mask: Int[Tensor, "prompts length"] | None = None
    """The prompts' mask for loops other than ``generate``, which has it."""

    @override
    def next_scores(
        self, input_ids: Int[Tensor, "rows length"], scores: Float[Tensor, "rows vocabulary"]
    ) -> Float[Tensor, "rows vocabulary"]:
        outputs, watcher = NextTokenOutputs(input_ids, self.attention_mask), current_watcher()
        if watcher is None:
            return self.process(outputs, scores)
        parts = self.parts(outputs, scores)
        watcher(self, input_ids, parts)
        return parts.scores

    @abstractmethod
    def process(self, outputs: SideOutputs, scores: Float[Tensor, "positions vocabulary"]) -> Float[Tensor, "positions vocabulary"]:
        """The decoder's scores of every token at every position, -inf for those that it excludes.

        Args:
            outputs: What else is known at these positions.
            scores: Logits or log-probabilities of the model, as the processors before left them. They stay as they are.
        """

    def parts(self, outputs: SideOutputs, scores: Float[Tensor, "positions vocabulary"]) -> ContrastParts:
        """The scores of :meth:`process` together with what they were made of, from the same computation."""
        return ContrastParts(scores=self.process(outputs, scores), positive=scores)


class ContrastProcessor(DistributionProcessor):
    """A decoder that sets one distribution against another and can show both: a subclass writes :meth:`parts`.

    Example:
        >>> import torch
        >>> from counterpoint.decoders import ContrastParts, ContrastProcessor, likelihood_ratio
        >>> class AgainstUniform(ContrastProcessor):
        ...     def parts(self, outputs, scores):
        ...         uniform = torch.zeros_like(scores)
        ...         return ContrastParts(scores=likelihood_ratio(scores, uniform), positive=scores, negative=uniform)
        >>> AgainstUniform()(torch.tensor([[5, 6]]), torch.tensor([[0.8, 0.2]]).log())
        tensor([[ 0.4700, -0.9163]])
    """

    @override
    def process(self, outputs: SideOutputs, scores: Float[Tensor, "positions vocabulary"]) -> Float[Tensor, "positions vocabulary"]:
        return self.parts(outputs, scores).scores

    @abstractmethod
    def parts(self, outputs: SideOutputs, scores: Float[Tensor, "positions vocabulary"]) -> ContrastParts:
        """The decoder's scores as in :meth:`DistributionProcessor.process`, and what they were made of."""
