"""What k rows must cost at least over one on this machine: the fastest kernel of every linear layer, and attention."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from counterpoint.decoders.kernels.choosing import AT_ONCE, measure
from counterpoint.decoders.kernels.products import KERNELS, candidates
from counterpoint.decoders.kernels.skinny_linear import plain_linears

ROUNDS = 15


def shortest(call: Callable[[], object]) -> float:
    """Seconds of the quickest of some calls."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


@torch.no_grad()
def linears(model: PreTrainedModel, rows: int, head_rows: int, names: list[str]) -> float:
    """Seconds of all linear layers of a forward, each by the fastest of these kernels; the head has rows of its own."""
    by_shape: dict[tuple[int, ...], list[Tensor]] = {}
    head: Any = model.get_output_embeddings()
    for linear in plain_linears(model):
        if linear is not head:
            by_shape.setdefault(tuple(linear.weight.shape), []).append(linear.weight)
    seconds = min(measure([head.weight], head_rows, names).values())
    for weights in by_shape.values():
        seconds += len(weights) * min(measure(weights[:AT_ONCE], rows, names).values())
    return seconds


@torch.no_grad()
def attention(model: PreTrainedModel, batch: int, context: int, k: int) -> float:
    """Seconds of the attention of all layers: k masked queries folded into their key heads, or one query without a mask."""
    config = model.config
    heads, shared = config.num_attention_heads, config.num_key_value_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    query = torch.randn(batch, heads, k, width, dtype=model.dtype)
    key, value = torch.randn(2, batch, shared, context, width, dtype=model.dtype)
    if k == 1:
        product = lambda: nn.functional.scaled_dot_product_attention(query, key, value, enable_gqa=True)  # noqa: E731
    else:
        folded = query.reshape(batch, shared, heads // shared * k, width)
        mask = torch.zeros(batch, 1, folded.shape[2], context, dtype=model.dtype)
        product = lambda: nn.functional.scaled_dot_product_attention(folded, key, value, attn_mask=mask)  # noqa: E731
    return float(config.num_hidden_layers * shortest(product))


def limit(model: PreTrainedModel, batch: int, context: int, k: int, may_pack: bool) -> float:
    """The least that a search of k candidates takes over greedy search by torch's own products, nothing else counted.

    With packed weights greedy search has them too.
    """
    names = candidates(model.dtype, may_pack)
    one = linears(model, batch, batch, names if may_pack else ["plain"]) + attention(model, batch, context, 1)
    return (linears(model, k * batch, batch, names) + attention(model, batch, context, k)) / one


def more_rows(model: PreTrainedModel, batch: int, context: int, k: int, exits: int) -> float:
    """Milliseconds that k candidates, or so many early exits, of each text need beyond one row of it, by the fastest kernels."""
    names = candidates(model.dtype, may_pack=False)
    before = linears(model, batch, batch, ["plain"]) + attention(model, batch, context, 1)
    after = linears(model, k * batch, (1 + exits) * batch, names) + attention(model, batch, context, k)
    return 1000 * (after - before)


@contextmanager
def packed_everywhere(model: PreTrainedModel) -> Iterator[None]:
    """Within the context every linear layer is multiplied by its packed copy, for any number of rows: greedy search packed."""
    layers = plain_linears(model)

    def packed(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
        return lambda x: KERNELS["packed"](x.reshape(-1, x.shape[-1]), layer.weight, layer.bias).view(*x.shape[:-1], -1)

    for layer in layers:
        vars(layer)["forward"] = packed(layer)
    try:
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)
