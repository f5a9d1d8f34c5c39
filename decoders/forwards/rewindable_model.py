"""A model that follows a text whose last tokens may be taken back, as speculative decoding needs of both its models."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, PreTrainedModel

from counterpoint.decoders.forwards.readable import check_no_own_tokens, reads_on
from counterpoint.decoders.forwards.tree_support import candidate_method
from counterpoint.decoders.hf.caches import (
    CACHE,
    cache_argument,
    cached_length,
    drop_last,
    is_offloaded,
    is_own_kind,
    start_recording,
    stop_recording,
    unusual_layers,
)
from counterpoint.decoders.hf.module_state import keeps_state_in_modules
from counterpoint.decoders.kernels.grouped_attention import grouped_attention
from counterpoint.decoders.kernels.skinny_linear import SkinnyLinears
from counterpoint.decoders.undoing import Change, together

FEW = 64
"""Tokens that are read as candidates are; more of them are read as a text is."""

Running = Callable[[], Change]
"""Gives a change under which the model's forwards are the right ones."""


class RewindableModel:
    """One text in a model's cache: read on as far as logits are asked for, and back where the text lost its last tokens.

    All tokens that are new go through the model in one forward, without a mask: there is one row, and no padding in it.

    Args:
        model: The decoder-only model.
        running: Gives the change under which the model reads.
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
        self.skinny = SkinnyLinears(model)
        self.positions = "position_ids" in signature(model.forward).parameters
        self.config = config = model.config.get_text_config(decoder=True)
        shared = getattr(config, "num_key_value_heads", None) not in (None, config.num_attention_heads)
        self.grouped = shared and candidate_method(model)[0] == "tree"  # measured with it; some look at the attention's name
        start_recording(cache)

    def logits(self, new: Int[Tensor, "1 new"], last: int) -> Float[Tensor, "{last} vocabulary"]:
        """Logits after each of the ``last`` tokens of the text, the prompt and ``new``."""
        text = torch.cat([self.prompt, new.to(self.prompt.device)], dim=1)
        while self.chunk is not None and (unread := text.shape[1] - self.read) > max(self.chunk, last):
            self._forward(text[:, self.read : self.read + min(self.chunk, unread - last)], 1)
            drop_last(self.cache, 0)  # none of these is taken back
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
        if self.positions:
            arguments["position_ids"] = torch.arange(self.read, self.read + tokens.shape[1], device=tokens.device)[None]
        self.read += tokens.shape[1]
        logits: Tensor
        few = 1 < tokens.shape[1] <= FEW
        attention = grouped_attention(self.config) if few and self.grouped else together()
        linears = self.skinny(tokens.shape[1]) if few else together()
        with together(self.running(), attention, linears) as run, run:
            logits = self.model(**arguments).logits
        if cached_length(self.cache) != self.read:
            slots = f"{cached_length(self.cache)} positions in its cache after {self.read} tokens"
            raise ValueError(irreversible(type(self.model).__name__, slots))
        return logits


def check_reversible(model: PreTrainedModel, cache: object, name: str) -> None:
    """``cache`` is one of ``model``'s, which is called ``name``, that rejected tokens can be taken back from.

    Raises:
        ValueError: Naming what is in the way.
    """
    name = f"{name} {type(model).__name__}"
    if not isinstance(cache, Cache) or cache_argument(model) is None:
        raise ValueError(irreversible(name, "its state outside of any cache of transformers' own"))
    if is_offloaded(cache):
        raise ValueError(f"{name} has an offloaded cache; leave out cache_implementation")
    if is_own_kind(cache):
        raise ValueError(irreversible(name, f"its state in a {type(cache).__name__}"))
    if keeps_state_in_modules(model):
        raise ValueError(irreversible(name, "its recurrent state in its modules"))
    if unusual := unusual_layers(cache):
        raise ValueError(irreversible(name, f"a cache of {unusual}"))
    check_no_own_tokens(model)
    if candidate_method(model)[0] != "tree" and not reads_on(model):  # what can read a tree can read a text
        raise ValueError(
            f"{name} does not read several tokens after those in its cache as it reads them in a whole text, which drafts need; "
            "use ContrastiveDecodingLogitsProcessor in logits_processor=[...]"
        )


def irreversible(name: str, what: str) -> str:
    """The error for a model that keeps ``what``."""
    return (
        f"{name} keeps {what}, which cannot give up rejected tokens; leave out cache_implementation or "
        "pass 'dynamic', or use ContrastiveDecodingLogitsProcessor in logits_processor=[...]"
    )
