"""The last hidden states, taken where a model turns them into logits.

A forward pre-hook on the output embedding sees exactly the vectors the model unembeds (after the final norm and any projection)
and may narrow them, so that the unembedding, the costliest matrix of a small model, runs for the chosen positions only and the
model's own soft caps and scalings still apply.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from counterpoint.decoders.hf.devices import embeddings_of
from counterpoint.decoders.hf.fixed_shapes.compiled import eager
from counterpoint.decoders.hf.hooked import hooked
from counterpoint.decoders.hf.weights import place_of
from counterpoint.decoders.undoing import Change, together


def vocabulary_of(model: PreTrainedModel) -> int:
    """The number of tokens that the model has an embedding for, whatever its configuration says."""
    embeddings = embeddings_of(model)
    return int(embeddings.weight.shape[0])


def head_width(model: PreTrainedModel) -> int:
    """The number of tokens that the model has logits for; its embeddings may have more rows, or fewer."""
    head = model.get_output_embeddings()
    return head.out_features if isinstance(head, nn.Linear) else vocabulary_of(model)


def is_tied(model: PreTrainedModel) -> bool:
    """Whether the head unembeds with the very weights that embed: what is tied is what shares storage."""
    embeddings = embeddings_of(model)
    head: Any = model.get_output_embeddings()
    if not isinstance(head, nn.Linear) or embeddings.weight is head.weight:
        return isinstance(head, nn.Linear)
    if head.weight.is_meta and embeddings.weight.is_meta:  # on a disk, where transformers knows them by name
        names = {module: f"{name}.weight" for name, module in model.named_modules()}
        own, other = names[head], names[embeddings]
        return bool(model.all_tied_weights_keys.get(own) == other or model.all_tied_weights_keys.get(other) == own)
    place = place_of(head.weight)
    return place is not None and place == place_of(embeddings.weight)


def narrowed_unembedding(
    model: PreTrainedModel,
    narrow: Callable[[Float[Tensor, "rows positions hidden"]], Float[Tensor, "rows_kept kept hidden"]],
    compiled: bool | None = None,
) -> Change:
    """While it lasts, one forward of ``model`` unembeds ``narrow(last_hidden_states)`` instead of all of them.

    Only the calling thread is affected. ``compiled`` is whether the model is, where a loop knows it, else all modules are
    looked at. Raises ``ValueError`` where the model has no output embedding to hook, or unembeds without calling it.
    """
    head = model.get_output_embeddings()
    name = type(model).__name__
    if not isinstance(head, nn.Module):
        raise ValueError(f"{name} has no usable hidden state: get_output_embeddings() gives {head!r}, not a module to unembed with")
    thread, narrowed = threading.get_ident(), False

    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        nonlocal narrowed
        if threading.get_ident() != thread:
            return None
        if not inputs or not isinstance(inputs[0], Tensor) or inputs[0].ndim != 3:
            raise ValueError(f"{name} has no usable hidden state: its unembedding does not take [rows, positions, hidden]")
        narrowed = True
        return (narrow(inputs[0]), *inputs[1:])

    def check() -> None:
        if not narrowed:
            raise ValueError(f"{name} has no usable hidden state: its forward does not call get_output_embeddings()")

    both = together(hooked(lambda: head.register_forward_pre_hook(hook)), eager(model, compiled))
    return Change(both.make, both.undo, check)
