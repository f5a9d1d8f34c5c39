"""Checks of what a model can read: known tokens, from left to right, without tokens of its own, and in parts after a cache."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from counterpoint.decoders.forwards.lifetime import OncePerCall
from counterpoint.decoders.hf.caches import CACHE, new_cache
from counterpoint.decoders.hf.devices import ids_device
from counterpoint.decoders.hf.fixed_shapes.compiled import eager
from counterpoint.decoders.hf.positions import position_arguments
from counterpoint.decoders.hf.side_forward import side_forward
from counterpoint.decoders.hf.steps import first_inputs
from counterpoint.decoders.hf.unembedding import vocabulary_of
from counterpoint.decoders.undoing import together

AHEAD = 1e-2
"""The relative difference of logits that no rounding explains: the last token's influence on those before it."""

OTHERWISE = 0.2
"""The relative difference of logits that a low precision's rounding explains; those of other positions differ by about 1."""


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
    with side_forward(looks_ahead) as own, own:
        logits: Tensor = called(input_ids=ids % vocabulary_of(model), use_cache=False).logits[:, -3:-1].float()
    return bool((logits[0] - logits[1]).norm() > AHEAD * logits.norm())


looks_ahead = OncePerCall(reads_ahead)


def check_no_own_tokens(model: PreTrainedModel) -> None:
    """``generate`` gives the model the text and nothing else, so that a forward of the text says what ``generate`` would say.

    Raises:
        ValueError: If it adds tokens, as XLM and XLNet do with one that stands for the token to be predicted.
    """
    ids = torch.tensor([[3, 4]], device=ids_device(model)) % vocabulary_of(model)
    given = first_inputs(model, ids, None, {"use_cache": False}).get("input_ids")
    if isinstance(given, Tensor) and not torch.equal(given, ids):
        raise ValueError(
            f"generate() gives {type(model).__name__} a token of its own beside the text, so that a forward of the text alone does "
            "not say what it would; use a model of another family"
        )


@torch.no_grad()
def _difference_of_parts(model: Any) -> float:
    ids = torch.tensor([[3, 4, 5, 6, 7, 8]], device=ids_device(model)) % vocabulary_of(model)
    order, cache = position_arguments(model, torch.ones_like(ids, dtype=torch.bool)), new_cache(model)
    parts = []
    with together(side_forward(reads_on), eager(model)) as change, change:
        whole: Tensor = model(input_ids=ids, use_cache=False, **order).logits.float()
        for part in (slice(0, 3), slice(3, 6)):
            own = {name: given[..., part] for name, given in order.items()}
            try:
                parts.append(model(input_ids=ids[:, part], use_cache=True, **own, **{CACHE: cache}).logits.float())
            except (ValueError, RuntimeError, TypeError, LookupError, AttributeError, AssertionError):
                return float("inf")
    if not whole.isfinite().all():
        return 0.0  # which whoever uses the logits refuses by its name
    read = torch.cat(parts, dim=1)
    return float((read - whole).norm() / whole.norm()) if read.shape == whole.shape else float("inf")


reads_on = OncePerCall(lambda model: _difference_of_parts(model) < OTHERWISE)
"""Whether several tokens after those in a cache give what they give in a whole text, as drafts need (ProphetNet takes one)."""
