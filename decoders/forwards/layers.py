"""The layers of a decoder-only model, and what it would say if it ended at one of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import dropwhile
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from counterpoint.decoders.hf.side_forward import side_forward
from counterpoint.decoders.hf.unembedding import vocabulary_of
from counterpoint.decoders.kernels.skinny_linear import float32_linears, skinny_forward

TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest relative difference, as rounding makes it, between the model's logits and those of its parts put together here."""


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The list of decoder layers: ``hidden_states[j]`` enters layer j.

    Raises:
        ValueError: For encoder-decoder models, and where no list has ``num_hidden_layers`` modules.
    """
    if model.config.is_encoder_decoder:
        raise ValueError(f"{type(model).__name__} is an encoder-decoder model; early exits are defined for decoder-only ones")
    depth = depth_of(model)
    for module in (model.get_decoder() or model).modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return module
    raise ValueError(f"{type(model).__name__} has no list of {depth} decoder layers; its early exits are out of reach")


def depth_of(model: PreTrainedModel) -> int:
    """N, the number of decoder layers; ``hidden_states`` has N + 1 entries."""
    depth: int = model.config.get_text_config(decoder=True).num_hidden_layers
    return depth


def check_layers(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    """Indices of early exits; 0 is the embeddings, depth - 1 the last but one state.

    Raises:
        ValueError: For no layers, and for those that the model has not.
    """
    wrong = [layer for layer in layers if not isinstance(layer, int) or not 0 <= layer < depth]
    if wrong or not layers:
        raise ValueError(f"layers={list(layers)!r}: early exits of this model are 0 (the embeddings) to {depth - 1}")
    return tuple(layers)


class EarlyExits:
    """The unembedding phi(h) of a model, for hidden states that enter a layer: ``lm_head(norm(h))`` or ``lm_head(h)``.

    What lies between the last layer and the logits (final norm, projection, head, and the scaling or soft cap of the architecture)
    is found by one forward of four tokens and checked on it: the parts must give the model's own logits.

    Args:
        model: The decoder-only model.
        final_norm: Whether early states pass the final norm, as the last one does. The released codes of DoLa and SLED leave it
            out.

    Raises:
        ValueError: Where the parts cannot be found, or do not give the model's logits.
    """

    def __init__(self, model: PreTrainedModel, final_norm: bool) -> None:
        self.config: PreTrainedConfig = model.config.get_text_config(decoder=True)
        self.scaling = scaling_of(self.config)
        self.layers = decoder_layers(model)
        head = model.get_output_embeddings()
        name = type(model).__name__
        if not isinstance(head, nn.Module):
            raise ValueError(f"{name}: get_output_embeddings() gives {head!r}, not a module to unembed with")
        self.head = head
        between, last, unembedded, logits = self._probe(model)
        self.skinny = isinstance(head, nn.Linear) and head in float32_linears(head)
        self.tail = between
        if last is None or unembedded is None or not self._gives(last, logits):
            raise ValueError(f"{name} does not unembed its last hidden state in a way that early exits can follow")
        if not final_norm:
            self.tail = list(dropwhile(_is_norm, between))  # a head may begin with layers and a norm of its own, as BERT's does

    def __call__(self, hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch vocabulary"]:
        """Logits of hidden states, in float32."""
        return self.unembed(self.normed(hidden))

    def normed(self, hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch width"]:
        """Hidden states as they reach the head."""
        for module in self.tail:
            hidden = module(hidden)
        return hidden

    def unembed(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch vocabulary"]:
        """Logits of states that have passed norm and projection, as those of the last layer that a tap of layer N sees."""
        logits: Tensor = skinny_forward(self.head, hidden) if self.skinny else self.head(hidden)  # type: ignore[arg-type]
        return self.rescale(logits)

    def rescale(self, products: Float[Tensor, "*batch vocabulary"]) -> Float[Tensor, "*batch vocabulary"]:
        """Logits of what the head computes, in float32."""
        return rescaled(products.float(), *self.scaling)

    @torch.no_grad()
    def _gives(self, last: Tensor, logits: Tensor) -> bool:
        """Whether the parts make the model's logits of what leaves its last layer."""
        try:
            return _close(self(last), logits)
        except RuntimeError:  # of another width: the last layer gives only a part of what is unembedded
            return False

    def _probe(self, model: Any) -> tuple[list[nn.Module], Tensor | None, Tensor | None, Tensor]:
        """The modules called between the last layer and the head, what came in, what reached the head, and the logits.

        What came in is None where the last layer does not give one state for each of the tokens (Reformer has two streams,
        Gemma 3n several versions, CPM-Ant a prompt of its own).
        """
        between: list[nn.Module] = []
        state: dict[str, Tensor] = {}
        inner = set(self.layers.modules()) | set(self.head.modules())
        leaves = [module for module in model.modules() if module not in inner and not any(True for _ in module.children())]

        def after_layers(module: nn.Module, arguments: Any, output: Any) -> None:
            state["last"] = output[0] if isinstance(output, tuple | list) else output

        def after_leaf(module: nn.Module, arguments: Any, output: Any) -> None:
            if "last" in state and "unembedded" not in state and not isinstance(module, nn.Dropout):
                between.append(module)

        def before_head(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            state["unembedded"] = arguments[0]

        handles = [self.layers[-1].register_forward_hook(after_layers), self.head.register_forward_pre_hook(before_head)]
        handles += [leaf.register_forward_hook(after_leaf) for leaf in leaves]
        ids = torch.arange(4, device=model.get_input_embeddings().weight.device)[None] + 3
        try:
            with torch.no_grad(), side_forward(self):
                logits: Tensor = model(input_ids=ids % vocabulary_of(model), use_cache=False).logits
        finally:
            for handle in handles:
                handle.remove()
        last = state.get("last")
        return between, last if last is not None and last.shape[:-1] == ids.shape else None, state.get("unembedded"), logits


def scaling_of(config: PreTrainedConfig) -> tuple[float, float | None]:
    """What an architecture does to the products of its head: a factor (Cohere, Falcon-H1, Granite) and a soft cap (Gemma)."""
    settings = config.to_dict()
    factor = (settings.get("logit_scale") or 1) * (settings.get("lm_head_multiplier") or 1) / (settings.get("logits_scaling") or 1)
    return factor, settings.get("final_logit_softcapping") or settings.get("logits_soft_cap")


def rescaled(logits: Float[Tensor, "*batch vocabulary"], factor: float, cap: float | None) -> Float[Tensor, "*batch vocabulary"]:
    """``logits`` times ``factor``, bent to stay below ``cap``."""
    if factor != 1:
        logits = logits * factor
    return cap * torch.tanh(logits / cap) if cap else logits


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _close(found: Tensor, expected: Tensor) -> bool:
    difference = float((found - expected.float()).norm() / expected.float().norm())
    return found.shape == expected.shape and difference <= TOLERANCE.get(expected.dtype, 1e-1)
