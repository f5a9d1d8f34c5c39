"""Which texts a model can read: those of tokens that it knows, and whole ones where it looks ahead by no token."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from counterpoint.decoders.forwards.lifetime import OncePerCall
from counterpoint.decoders.hf.devices import ids_device
from counterpoint.decoders.hf.side_forward import side_forward
from counterpoint.decoders.hf.unembedding import vocabulary_of

AHEAD = 1e-2
"""The relative difference of logits that no rounding explains: the last token's influence on those before it."""


def check_known(model: PreTrainedModel, tokens: Iterable[int]) -> None:
    """The model has an embedding for each of these tokens.

    Raises:
        ValueError: Naming the largest, before a forward fails on it.
    """
    largest, known = max(tokens, default=0), vocabulary_of(model)
    if largest >= known:
        raise ValueError(
            f"token {largest} is none of the {known} that {type(model).__name__} knows: a text needs the tokenizer of the model "
            "that reads it, and an expert and its amateur need one vocabulary"
        )


def check_causal(model: PreTrainedModel) -> None:
    """The model reads from left to right, so that one forward of a whole text says what it would have said at each of its tokens.

    Prefix language models (PaliGemma) read all that they are given at once in both directions, and BERT and its kin do so unless
    their configuration has ``is_decoder=True``.

    Raises:
        ValueError: If later tokens change the logits of earlier ones, as one forward of two texts shows.
    """
    if looks_ahead(model):
        raise ValueError(
            f"{type(model).__name__} reads a text in both directions, so that one forward would know what it is to predict, and "
            "given texts cannot be scored; if its family is causal with is_decoder=True, that belongs in its configuration"
        )


@torch.no_grad()
def reads_ahead(model: PreTrainedModel) -> bool:
    """Whether what the model says after a token depends on the tokens after it, by one forward."""
    called: Any = model
    ids = torch.tensor([[3, 4, 5, 6, 7], [3, 4, 5, 6, 8]], device=ids_device(called))
    with side_forward(looks_ahead):
        logits: Tensor = called(input_ids=ids % vocabulary_of(model), use_cache=False).logits[:, -3:-1].float()
    return bool((logits[0] - logits[1]).norm() > AHEAD * logits.norm())


looks_ahead = OncePerCall(reads_ahead)
