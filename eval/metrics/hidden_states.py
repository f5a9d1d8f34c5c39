"""Hidden states of texts, batch after batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from inspect import signature
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders.forwards.ragged import padded


def batched_states(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    layer: int,
    max_tokens: int,
    batch_size: int,
) -> Iterator[tuple[list[int], Float[Tensor, "rows tokens hidden"], Bool[Tensor, "rows tokens"]]]:
    """Indices of texts, their hidden states, and a mask that is False at padding; batch after batch, without texts of no tokens."""
    body: Any = model.base_model  # the same states without unembedding them
    tokens = [tokenizer(text, truncation=True, max_length=max_tokens, verbose=False)["input_ids"] for text in texts]
    order = sorted((row for row, each in enumerate(tokens) if each), key=lambda row: len(tokens[row]))
    for begin in range(0, len(order), batch_size):
        rows = order[begin : begin + batch_size]
        ids, mask = padded([tokens[row] for row in rows], device=body.device)
        with torch.no_grad():  # not around the yield, where the caller's code runs
            output = body(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        yield rows, output.hidden_states[layer], mask.bool()


def check_layer(model: PreTrainedModel, layer: int) -> None:
    """Check that the model reads one text, and has the layer.

    Raises:
        ValueError: If not.
    """
    if "decoder_input_ids" in signature(model.forward).parameters:
        raise ValueError(f"model={type(model).__name__} has an encoder and a decoder; give one of them, e.g. model.get_encoder()")
    depth = model.config.get_text_config().num_hidden_layers
    if not -depth - 1 <= layer <= depth:
        raise ValueError(f"layer={layer}: the model has hidden states 0 (embeddings) to {depth} (or -1, the last)")
