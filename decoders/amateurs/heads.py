"""The same model with some of its attention heads masked, as the amateur: no second copy of the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from counterpoint.decoders.amateurs.head_lists import Head
from counterpoint.decoders.amateurs.models import ModelAmateur
from counterpoint.decoders.forwards.given_texts import GivenTexts
from counterpoint.decoders.forwards.layers import decoder_layers
from counterpoint.decoders.forwards.recording import ForwardOutputs, Positions
from counterpoint.decoders.hf.fixed_shapes.compiled import eager
from counterpoint.decoders.hf.hooked import hooked
from counterpoint.decoders.hf.query_heads import head_projections
from counterpoint.decoders.hf.side_forward import forward_owner
from counterpoint.decoders.hf.wrappers import Model
from counterpoint.decoders.undoing import Change, together

MASKS = ("uniform", "zero")
"""What becomes of a head: an average of all that it may see, or nothing."""


class HeadMaskedAmateur(ModelAmateur):
    """The model that generates, without what some of its attention heads find.

    DeCoRe (Gema et al. 2024, arXiv 2410.18860) masks retrieval heads, which copy from the context; ``counterpoint retrieval-heads``
    finds them. The masked model reads the whole text so, the prompt too, in generation and in scoring alike; the released code
    generates after a prompt that was read unmasked, and scores after a masked one.

    Only forwards that this object runs itself are masked, by hooks that are gone after each of them.

    Args:
        model: The decoder-only model. Its query projections have to be known: ``q_proj``, or GPT-2's ``c_attn``.
        heads: Pairs of a layer and a query head in it, both from 0; none leaves the model as it is.
        mask: "uniform", as released: a head's queries are 0, so that it averages the values of all tokens that it may see. "zero":
            nothing of the head is left.

    Raises:
        ValueError: For heads that the model has not, layers without attention or whose projections are not known, and, for
            "uniform", attention with sinks or with query norms that have a bias, where queries of 0 do not give an average.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import ContrastiveDecodingLogitsProcessor, HeadMaskedAmateur
        >>> from counterpoint.eval import EXPERT
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> processor = ContrastiveDecodingLogitsProcessor(HeadMaskedAmateur(model, [(1, 0), (2, 3)]))
        >>> ids = model.generate(**tokenizer("The whale", return_tensors="pt"), logits_processor=[processor], max_new_tokens=5)
    """

    def __init__(self, model: Model, heads: Sequence[Head], *, mask: str = "uniform") -> None:
        super().__init__(model)
        if mask not in MASKS:
            raise ValueError(f"mask={mask!r} is not one of {', '.join(MASKS)}")
        self.heads, self.mask = tuple(heads), mask
        layers = list(decoder_layers(self.model)) if self.heads else []
        wrong = sorted({layer for layer, _ in self.heads if not 0 <= layer < len(layers)})
        if wrong:
            raise ValueError(f"heads: layers {wrong} are not in {type(self.model).__name__}, which has {len(layers)}")
        self.masked = {
            layer: head_projections(layers[layer], f"layer {layer} of {type(self.model).__name__}", self._count())
            for layer in sorted({layer for layer, _ in self.heads})
        }
        for layer, found in self.masked.items():
            beyond = sorted(head for at, head in self.heads if at == layer and not 0 <= head < found.heads)
            if beyond:
                raise ValueError(f"heads: layer {layer} has no heads {beyond}, it has {found.heads}")
            if mask == "uniform":
                found.check_uniform(f"layer {layer} of {type(self.model).__name__}")
        self.columns = {layer: self._columns(layer) for layer in self.masked}

    def _count(self) -> int:
        count: int = self.model.config.get_text_config(decoder=True).num_attention_heads
        return count

    def _columns(self, layer: int) -> Int[Tensor, "columns"]:
        """Where the masked heads of a layer are among its queries and attended values."""
        width = self.masked[layer].head_dim
        found = [head * width + place for at, head in self.heads if at == layer for place in range(width)]
        return torch.tensor(found, device=self.model.device)

    @override
    def next_logits(self, ids: Int[Tensor, "rows own"], seen: Bool[Tensor, "rows own"]) -> Float[Tensor, "rows vocabulary"]:
        with self._masked() as mask, mask:
            return super().next_logits(ids, seen)

    @override
    def text_outputs(self, texts: GivenTexts, positions: Positions, layers: Sequence[int] = ()) -> ForwardOutputs:
        with self.lock, self._masked() as mask, mask:
            return super().text_outputs(texts, positions, layers)

    @override
    def running(self) -> Change:
        return together(self._masked(), super().running())

    def _masked(self) -> Change:
        """While it lasts, the heads are masked in forwards that belong to this amateur."""

        def silenced(values: Tensor, layer: int) -> Tensor | None:
            if forward_owner() is not self:
                return None
            return values.index_fill(-1, self.columns[layer].to(values.device), 0.0)

        def queries(layer: int) -> Any:
            return lambda module, arguments, output: silenced(output, layer)

        def attended(layer: int) -> Any:
            return lambda module, arguments: silenced(arguments[0], layer)

        hooks: list[Callable[[], RemovableHandle]] = []
        for layer, found in self.masked.items():
            if self.mask == "uniform":
                hooks.append(partial(getattr(found.attention, found.query).register_forward_hook, queries(layer)))
            else:
                hooks.append(partial(getattr(found.attention, found.output).register_forward_pre_hook, attended(layer)))
        return together(eager(self.model), hooked(*hooks))
