"""The layers of a decoder-only model, and what it would say if it ended at one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, dropwhile
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from counterpoint.decoders.hf.devices import ids_device
from counterpoint.decoders.hf.fixed_shapes.compiled import eager
from counterpoint.decoders.hf.hooked import hooked
from counterpoint.decoders.hf.places import Places
from counterpoint.decoders.hf.side_forward import forward_owner, side_forward
from counterpoint.decoders.hf.unembedding import vocabulary_of
from counterpoint.decoders.kernels.skinny_linear import is_plain
from counterpoint.decoders.undoing import together

TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest relative difference, as rounding makes it, between the model's logits and those of its parts put together here."""


def decoder_layers(model: PreTrainedModel, depth: int | None = None) -> nn.ModuleList:
    """The list of decoder layers: ``hidden_states[j]`` enters layer j.

    Args:
        model: The model.
        depth: Their number, where it is known from before: ``assistant_early_exit`` changes the config for the time of a draft.

    Raises:
        ValueError: For encoder-decoder models, and where no list has as many modules.
    """
    if model.config.is_encoder_decoder:
        raise ValueError(f"{type(model).__name__} is an encoder-decoder model; early exits are defined for decoder-only ones")
    depth = depth_of(model) if depth is None else depth
    for module in chain((model.get_decoder() or model).modules(), model.modules()):  # ModernBERT calls its head "decoder"
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
        ValueError: If there are no layers, or some that the model does not have.
    """
    wrong = [layer for layer in layers if not isinstance(layer, int) or not 0 <= layer < depth]
    if wrong or not layers:
        raise ValueError(f"layers={list(layers)!r}: early exits of this model are 0 (the embeddings) to {depth - 1}")
    return tuple(layers)


@dataclass(frozen=True)
class Unembedding:
    """What lies between the last layer and the logits of a model, as it was found."""

    layers: nn.ModuleList
    head: nn.Module
    between: list[tuple[str, nn.Module]]
    """Names and modules after the last layer and before the head, in the order of their calls."""
    scaling: tuple[float, float | None]
    final_norm: bool
    """Whether early states pass the final norm."""

    def is_of(self, model: PreTrainedModel) -> bool:
        """Whether the model still has these modules in their places, which PEFT and resized embeddings change."""
        same = model.get_output_embeddings() is self.head and decoder_layers(model, len(self.layers)) is self.layers
        return same and all(model.get_submodule(name) is module for name, module in self.between)

    @torch.no_grad()
    def gives(self, last: Tensor, logits: Tensor) -> bool:
        """Whether the parts make the model's logits of what leaves its last layer."""
        try:
            for _, module in self.between:
                last = module(last)
            return _close(rescaled(self.head(last).float(), *self.scaling), logits)
        except RuntimeError:  # of another width: the last layer gives only a part of what is unembedded
            return False

    @property
    def skinny(self) -> bool:
        """Whether the head is a plain layer on a CPU that nobody has wrapped, so that its product for a few rows can be chosen."""
        return is_plain(self.head) and "forward" not in vars(self.head)

    def normed(self, hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch width"]:
        """Hidden states as they reach the head."""
        modules = [module for _, module in self.between]
        if not self.final_norm:  # a head may begin with layers and a norm of its own, as BERT's does
            modules = list(dropwhile(_is_norm, modules))
        for module in modules:
            hidden = module(hidden)
        return hidden

    def unembed(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch vocabulary"]:
        """Logits of states that have passed norm and projection, in float32."""
        return self.rescale(self.head(hidden))

    def rescale(self, products: Float[Tensor, "*batch vocabulary"]) -> Float[Tensor, "*batch vocabulary"]:
        """Logits of what the head computes, in float32."""
        return rescaled(products.float(), *self.scaling)


class EarlyExits:
    """The unembedding phi(h) of a model, for hidden states that enter a layer: ``lm_head(norm(h))`` or ``lm_head(h)``.

    What lies between the last layer and the logits (final norm, projection, head, and the scaling or soft cap of the architecture)
    is found by one forward of four tokens and checked on it: the parts must give the model's own logits. It is found anew where the
    model has got another head or norm.

    Args:
        model: The decoder-only model.
        final_norm: Whether early states pass the final norm, as the last one does. The released codes of DoLa and SLED leave it
            out.

    Raises:
        ValueError: Where the parts cannot be found, or do not give the model's logits.
    """

    def __init__(self, model: PreTrainedModel, final_norm: bool) -> None:
        self.model, self.final_norm, self.depth = model, final_norm, depth_of(model)
        self.found = self._find()

    @property
    def parts(self) -> Unembedding:
        """The model's own unembedding now."""
        found, places = self.found
        if not places.hold():
            self.found = found, _ = (found, self._places(found)) if found.is_of(self.model) else self._find()
        return found

    def _places(self, found: Unembedding) -> Places:
        """Where the parts lie now."""
        return Places(self.model, [*found.layers, found.head, *(module for _, module in found.between)])

    def __call__(self, hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch vocabulary"]:
        """Logits of hidden states, in float32."""
        parts = self.parts
        return parts.unembed(parts.normed(hidden))

    def unembed(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch vocabulary"]:
        """Logits of states that have passed norm and projection, as those of the last layer that a tap of layer N sees."""
        return self.parts.unembed(hidden)

    def _find(self) -> tuple[Unembedding, Places]:
        """The modules between the last layer and the head, checked on the forward that shows them, and where they lie."""
        model = self.model
        layers, head, name = decoder_layers(model, self.depth), model.get_output_embeddings(), type(model).__name__
        if not isinstance(head, nn.Module):
            raise ValueError(f"{name}: get_output_embeddings() gives {head!r}, not a module to unembed with")
        between, last, unembedded, logits = self._probe(model, layers, head)
        scaling = scaling_of(model.config.get_text_config(decoder=True))
        found = Unembedding(layers, head, between, scaling, self.final_norm)
        if last is None or unembedded is None or not found.gives(last, logits):
            raise ValueError(f"{name} does not unembed its last hidden state in a way that early exits can follow")
        return found, self._places(found)

    def _probe(
        self, model: Any, layers: nn.ModuleList, head: nn.Module
    ) -> tuple[list[tuple[str, nn.Module]], Tensor | None, Tensor | None, Tensor]:
        """The modules called between the last layer and the head, what came in, what reached the head, and the logits.

        What came in is None where the last layer does not give one state for each of the tokens (Reformer has two streams,
        Gemma 3n several versions, CPM-Ant a prompt of its own).
        """
        between: list[tuple[str, nn.Module]] = []
        state: dict[str, Tensor] = {}
        inner = set(layers.modules()) | set(head.modules())
        leaves = {
            path: module
            for path, module in model.named_modules()
            if module not in inner and not any(True for _ in module.children())
        }

        calls: Counter[nn.Module] = Counter()

        def after_layers(module: nn.Module, arguments: Any, output: Any) -> None:
            if forward_owner() is self:  # other threads may run forwards of their own
                state["last"] = output[0] if isinstance(output, tuple | list) else output

        def after_leaf(path: str, module: nn.Module, arguments: Any, output: Any) -> None:
            seen = forward_owner() is self and "last" in state and "unembedded" not in state
            if seen and not isinstance(module, nn.Dropout):
                between.append((path, module))

        def before_head(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            if forward_owner() is self:
                state["unembedded"] = arguments[0]

        def before_layer(module: nn.Module, arguments: Any) -> None:
            calls[module] += forward_owner() is self

        hooks = [partial(layers[-1].register_forward_hook, after_layers), partial(head.register_forward_pre_hook, before_head)]
        hooks += [partial(leaf.register_forward_hook, partial(after_leaf, path)) for path, leaf in leaves.items()]
        hooks += [partial(layer.register_forward_pre_hook, before_layer) for layer in layers]
        ids = torch.arange(4, device=ids_device(model))[None] + 3
        with torch.no_grad(), together(hooked(*hooks), side_forward(self), eager(model)) as probe, probe:
            logits: Tensor = model(input_ids=ids % vocabulary_of(model), use_cache=False).logits
        if any(calls[layer] > 1 for layer in layers):
            raise ValueError(f"{type(model).__name__} runs some of its layers several times, so that early exits have no one state")
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
