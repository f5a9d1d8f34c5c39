"""A model that follows a text whose last tokens may be taken back, as speculative decoding needs of both its models."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, PreTrainedModel

from counterpoint.decoders.forwards.prefix_cache import STATE_IN_MODULES
from counterpoint.decoders.forwards.tree_support import family_obstacle
from counterpoint.decoders.hf.caches import CACHE, drop_last, is_offloaded, start_recording, stop_recording, unusual_layers
from counterpoint.decoders.kernels.grouped_attention import grouped_attention
from counterpoint.decoders.kernels.skinny_linear import MAX_ROWS, float32_linears

LARGE = 2**16
"""Weights of fewer elements are multiplied fast enough the usual way."""

Running = Callable[[], AbstractContextManager[Any]]
"""Gives the model, whose forwards within the context are the right ones."""


class RewindableModel:
    """One text in a model's cache: read on as far as logits are asked for, and back where the text lost its last tokens.

    All tokens that are new go through the model in one forward, without a mask: there is one row, and no padding in it. A few are
    faster where ``linears`` compute by :func:`~counterpoint.decoders.kernels.skinny_linear.skinny_linears`.

    Args:
        model: The decoder-only model.
        running: Its context.
        prompt: The beginning of the text, where the model lies.
        cache: The model's, empty or of a beginning of the prompt.
        chunk: The most tokens of the prompt to read in one forward; None for all of them.
    """

    def __init__(
        self, model: PreTrainedModel, running: Running, prompt: Int[Tensor, "1 prompt"], cache: Cache, chunk: int | None = None
    ) -> None:
        self.model, self.running = model, running
        self.prompt, self.cache, self.chunk = prompt, cache, chunk
        self.read = cache.get_seq_length()
        self.narrow = "logits_to_keep" in signature(model.forward).parameters
        self.linears = [linear for linear in float32_linears(model) if linear.weight.numel() >= LARGE]
        config = model.config.get_text_config(decoder=True)
        shared = getattr(config, "num_key_value_heads", None) not in (None, config.num_attention_heads)
        self.grouped = (
            shared and family_obstacle(model) is None
        )  # others may look at the attention's name, as Falcon does for alibi
        start_recording(cache)

    def logits(self, new: Int[Tensor, "1 new"], last: int) -> Float[Tensor, "{last} vocabulary"]:
        """Logits after each of the ``last`` tokens of the text, the prompt and ``new``."""
        text = torch.cat([self.prompt, new.to(self.prompt.device)], dim=1)
        while self.chunk is not None and (unread := text.shape[1] - self.read) > max(self.chunk, last):
            self._forward(text[:, self.read : self.read + min(self.chunk, unread - last)], 1)
        logits = self._forward(text[:, self.read :], last)[0, -last:]
        return logits.to(dtype=torch.float32, device=new.device)

    def keep(self, new: int) -> None:
        """Back to the first ``new`` of the new tokens, if more were read."""
        dropped = max(self.read - self.prompt.shape[1] - new, 0)
        drop_last(self.cache, dropped)
        self.read -= dropped

    def release(self) -> Cache:
        """The cache, as ``generate`` leaves it."""
        stop_recording(self.cache)
        return self.cache

    def _forward(self, tokens: Int[Tensor, "1 unread"], last: int) -> Float[Tensor, "1 positions vocabulary"]:
        arguments = {"input_ids": tokens, CACHE: self.cache, "use_cache": True, "return_dict": True}
        if self.narrow:
            arguments["logits_to_keep"] = last
        self.read += tokens.shape[1]
        logits: Tensor
        with self.running() as model:
            few = 1 < tokens.shape[1] <= MAX_ROWS
            with grouped_attention(self.model.config) if few and self.grouped else nullcontext():
                logits = model(**arguments).logits
        return logits


def check_reversible(model: PreTrainedModel, cache: object, name: str) -> None:
    """``cache`` is one of ``model``'s, which is called ``name``, that rejected tokens can be taken back from.

    Raises:
        ValueError: Naming what is in the way.
    """
    if isinstance(cache, Cache) and is_offloaded(cache):
        raise ValueError(f"{name} {type(model).__name__} has an offloaded cache; leave out cache_implementation")
    if isinstance(cache, Cache) and model.config.model_type not in STATE_IN_MODULES:
        unusual = unusual_layers(cache)
        what = f"a cache of {unusual}" if unusual else None
    else:
        what = "its state outside of any cache"
    if what:
        raise ValueError(
            f"{name} {type(model).__name__} keeps {what}, which cannot give up rejected tokens; leave out cache_implementation or "
            "pass 'dynamic', or use ContrastiveDecodingLogitsProcessor in logits_processor=[...]"
        )
