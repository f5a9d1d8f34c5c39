"""A decoder at positions of given texts: what it may ask for there, at once or, as any logits processor, token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from typing_extensions import override

from counterpoint.decoders.amateurs.models import Amateur, ModelAmateur, amateur_outputs
from counterpoint.decoders.base import DistributionProcessor, SideOutputs
from counterpoint.decoders.forwards.exit_tap import ExitTap
from counterpoint.decoders.forwards.given_texts import GivenTexts
from counterpoint.decoders.forwards.layer_tap import LayerTap
from counterpoint.decoders.forwards.ragged import padded
from counterpoint.decoders.forwards.recording import ForwardOutputs
from counterpoint.decoders.forwards.text_states import TextStates

Processor = Callable[[Any, Any], Any]
AT_ONCE = 2**23
"""Logits, early layers' included, that a decoder is given at once: more would only leave a CPU's caches."""


class TextOutputs(SideOutputs):
    """The side outputs of scoring: at all positions of given texts, or some at a time."""

    def __init__(self, model: PreTrainedModel, texts: GivenTexts, own: ForwardOutputs, taps: Sequence[LayerTap]) -> None:
        self.model, self.texts, self.own, self.taps = model, texts, own, taps
        self.chosen = slice(None)
        """The positions that are asked about now."""
        self.amateurs: dict[int, ForwardOutputs] = {}
        self.read: dict[int, Float[Tensor, "texts width hidden"]] = {}

    @override
    def logits(self, amateur: Amateur) -> Float[Tensor, "positions vocabulary"]:
        return self._outputs_of(amateur).logits[self.chosen].float().to(self.own.logits.device)

    @override
    def states(self, tap: LayerTap) -> Float[Tensor, "layers positions hidden"]:
        states = self._outputs_of(tap.owner).states if isinstance(tap.owner, ModelAmateur) else self.own.states
        device = states[tap.layers[-1]].device
        return torch.stack([states[layer][self.chosen].to(device) for layer in tap.layers])

    @override
    def exits(self, tap: ExitTap) -> Float[Tensor, "layers positions vocabulary"]:
        return tap.exits(self.states(tap))

    @override
    def text(self) -> tuple[Int[Tensor, "positions length"], Bool[Tensor, "positions length"]]:
        written = [self.texts.before(text, position) for text, position in self.texts.positions[self.chosen]]
        ids, mask = padded(written, side="left", device=self.own.logits.device)
        return ids, mask.bool()

    @override
    def text_states(self, reader: TextStates) -> Float[Tensor, "positions length hidden"]:
        if all(module is not reader.decoder for module in self.model.modules()):
            raise ValueError(f"decoder reads the states of another {reader.name} than model: make it for the model to score by")
        if self.texts.beside:
            raise ValueError("a decoder that compares a text's own states reads it without its pictures; leave one of them out")
        if id(reader) not in self.read:
            whole = [self.texts.before(text, len(tokens) - 1) for text, tokens in enumerate(self.texts.continuations)]
            self.read[id(reader)] = reader.of_texts(whole).to(self.own.logits.device)
        states = self.read[id(reader)]
        written = [(text, len(self.texts.before(text, tokens))) for text, tokens in self.texts.positions[self.chosen]]
        width = max(length for _, length in written)
        return torch.stack([nn.functional.pad(states[text, :length], (0, 0, width - length, 0)) for text, length in written])

    @override
    def new_tokens(self, prompt_length: int | None = None) -> Int[Tensor, "positions"]:
        return torch.tensor([tokens for _, tokens in self.texts.positions[self.chosen]], device=self.own.logits.device)

    def _outputs_of(self, amateur: Amateur) -> ForwardOutputs:
        if id(amateur) not in self.amateurs:
            layers = [layer for tap in self.taps if tap.owner is amateur for layer in tap.layers]
            self.amateurs[id(amateur)] = amateur_outputs(amateur, self.texts, self.texts.positions, layers)
        return self.amateurs[id(amateur)]


def processed(
    processor: DistributionProcessor, outputs: TextOutputs, scores: Float[Tensor, "positions vocabulary"]
) -> Float[Tensor, "positions vocabulary"]:
    """The scores of a decoder at all positions, computed for some at a time."""
    logits_each = scores.shape[-1] * (1 + sum(len(tap.layers) for tap in processor.taps))
    found = []
    for begin in range(0, len(scores), size := max(1, AT_ONCE // logits_each)):
        outputs.chosen = slice(begin, begin + size)
        found.append(processor.process(outputs, scores[outputs.chosen]))
    return torch.cat(found)


def teacher_forced(
    processor: Processor, texts: GivenTexts, scores: Float[Tensor, "positions vocabulary"]
) -> Float[Tensor, "positions vocabulary"]:
    """The scores of any logits processor, called as ``generate`` would: the texts of a prompt are its rows, token after token."""
    result = scores.clone()
    groups: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for text, (number, prompt) in enumerate(zip(texts.numbers, texts.prompts, strict=True)):
        groups.setdefault((number, prompt), []).append(text)
    for rows in groups.values():
        where = [texts.where[text] for text in rows]
        for step in range(max(map(len, where))):
            written = [texts.before(text, step) for text in rows]
            width = max(map(len, written))  # a text that has ended goes on with its last token, and what becomes of it is dropped
            ids = torch.tensor([[*row, *[row[-1]] * (width - len(row))] for row in written], device=scores.device)
            at = [positions[min(step, len(positions) - 1)] for positions in where]
            going = [index for index, positions in enumerate(where) if step < len(positions)]
            processed = processor(ids, scores[at])
            result[[at[index] for index in going]] = processed[going].float()
    return result
