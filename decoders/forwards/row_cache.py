"""A model's cache of texts that begin, grow and end each in its own time, as the requests of an engine do."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import Cache, PreTrainedModel

from counterpoint.decoders.forwards.ragged import padded
from counterpoint.decoders.forwards.readable import check_no_own_tokens
from counterpoint.decoders.hf.caches import (
    cache_argument,
    cached_length,
    has_windows_at_most,
    is_own_kind,
    new_cache,
    put_states,
    read_states,
    unwindowed_cache,
)
from counterpoint.decoders.hf.devices import ids_device
from counterpoint.decoders.hf.module_state import keeps_state_in_modules
from counterpoint.decoders.hf.positions import position_arguments
from counterpoint.decoders.hf.unembedding import vocabulary_of
from counterpoint.decoders.undoing import Change, together

Texts = Mapping[Any, Sequence[int]]
"""The tokens of each text, by what it is known by."""

Running = Callable[[], Change]
"""Gives the change under which the model reads."""


@dataclass
class Read:
    """The texts that a model has read: a row of its cache each, padded on the left to the longest."""

    keys: list[Hashable] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    cache: Cache = field(default_factory=unwindowed_cache)
    logits: Float[Tensor, "rows vocabulary"] | None = None
    """Those of the token after each text."""

    def only(self, rows: Sequence[int]) -> Read:
        """The texts of these rows, in this order, as narrow as the longest of them."""
        if not rows or self.logits is None:
            return Read()
        lengths = [self.lengths[row] for row in rows]
        kept, width = torch.tensor(rows, device=self.logits.device), max(lengths)
        if list(rows) != list(range(len(self.keys))):
            put_states(self.cache, [each[kept.to(each.device), ..., -width:, :] for each in read_states(self.cache)])
        return Read([self.keys[row] for row in rows], lengths, self.cache, self.logits[kept])

    def joined(self, other: Read) -> Read:
        """These texts and others below them."""
        if self.logits is None or other.logits is None:
            return other if self.logits is None else self
        put_states(self.cache, [below(*both) for both in zip(read_states(self.cache), read_states(other.cache), strict=True)])
        logits = torch.cat([self.logits, other.logits])
        return Read(self.keys + other.keys, self.lengths + other.lengths, self.cache, logits)

    def seen(self, more: int = 0) -> Bool[Tensor, "rows width"]:
        """Which places of each row are not padding, with room for ``more`` tokens of every row."""
        width, lengths = max(self.lengths) + more, torch.tensor(self.lengths) + more
        return torch.arange(width)[None] >= width - lengths[:, None]


class RowCache:
    """What a model says after each of several texts, all of them in one forward a step.

    Which texts there are, and how far each has come, every call says anew. A text that is one token longer goes on from its row of
    the cache, all such rows together; one that is new is read from its beginning; one that is as before costs nothing; one that is
    missing is forgotten. Texts only grow: what is not a text's continuation has a key of its own.

    Ids beyond the model's embeddings are read as its last one: where two models have one tokenizer but differ in width, such ids
    are none of the tokenizer's and mean nothing to either.

    Args:
        model: The decoder-only model.
        running: Gives the change under which it reads, such as an adapter that is switched on; nothing by default.

    Raises:
        ValueError: For a model whose state is not keys and values of its tokens alone.

    Example:
        >>> from transformers import AutoModelForCausalLM
        >>> from counterpoint.eval import AMATEUR
        >>> rows = RowCache(AutoModelForCausalLM.from_pretrained(AMATEUR))
        >>> rows.next_logits({"first": [5, 6, 7], "second": [8]}).shape
        torch.Size([2, 8192])
        >>> rows.next_logits({"second": [8, 9]}).shape
        torch.Size([1, 8192])
    """

    def __init__(self, model: PreTrainedModel, running: Running = together) -> None:
        check_rows(model)
        self.model, self.running = model, running
        self.argument = cache_argument(model)
        self.narrow = "logits_to_keep" in signature(model.forward).parameters
        self.known = vocabulary_of(model)
        self.read = Read()
        self.forwards = 0
        """The number of forwards so far."""

    @torch.no_grad()
    def next_logits(self, texts: Texts) -> Float[Tensor, "texts vocabulary"]:
        """Logits of the token that follows each text, in their order.

        Args:
            texts: All texts that there are, none of them empty, each under a key of its own for as long as it lives.
        """
        read, self.read = self.read, Read()  # a forward that fails leaves nothing behind
        goes_on = [key in texts and 0 <= len(texts[key]) - length <= 1 for key, length in zip(read.keys, read.lengths, strict=True)]
        read = self._longer(read.only([row for row, stays in enumerate(goes_on) if stays]), texts)
        held = set(read.keys)
        for begun in alike([key for key in texts if key not in held], texts):
            read = read.joined(self._begun(begun, texts))
        self.read = read
        if read.logits is None:
            return torch.empty(0, 0)
        row = {key: place for place, key in enumerate(read.keys)}
        return read.logits[[row[key] for key in texts]]

    def _longer(self, read: Read, texts: Texts) -> Read:
        """The same rows, those read on whose text has one token more; the others wait in their places."""
        new = torch.tensor([len(texts[key]) > length for key, length in zip(read.keys, read.lengths, strict=True)])
        if read.logits is None or not bool(new.any()):
            return read
        width = max(read.lengths)
        seen = torch.cat([read.seen(), new[:, None]], dim=1)
        last = torch.tensor([[texts[key][-1]] for key in read.keys])
        logits = self._forward(last, seen, read.cache, width)
        if not bool(new.all()):
            waiting = (~new).nonzero().flatten()
            put_states(read.cache, [with_last_first(each, waiting) for each in read_states(read.cache)])
            logits = torch.where(new[:, None].to(logits.device), logits, read.logits)
        lengths = [length + int(more) for length, more in zip(read.lengths, new.tolist(), strict=True)]
        if max(lengths) == width:  # the longest texts waited
            put_states(read.cache, [each[..., -width:, :] for each in read_states(read.cache)])
        return Read(read.keys, lengths, read.cache, logits)

    def _begun(self, keys: Sequence[Hashable], texts: Texts) -> Read:
        """New texts, read from their beginning; those that are the same once."""
        unlike = list(dict.fromkeys(tuple(texts[key]) for key in keys))
        ids, mask = padded(unlike, side="left")
        read = Read(list(unlike), [len(text) for text in unlike])
        read.logits = self._forward(ids, mask.bool(), read.cache, 0)
        if len(unlike) == len(keys):
            return Read(list(keys), read.lengths, read.cache, read.logits)
        row = {text: place for place, text in enumerate(unlike)}
        copies = read.only([row[tuple(texts[key])] for key in keys])
        return Read(list(keys), copies.lengths, copies.cache, copies.logits)

    def _forward(
        self, ids: Int[Tensor, "rows new"], seen: Bool[Tensor, "rows width"], cache: Cache, held: int
    ) -> Float[Tensor, "rows vocabulary"]:
        device = ids_device(self.model)
        ids, seen = ids.clamp(max=self.known - 1).to(device), seen.to(device)
        arguments: dict[str, Any] = {"use_cache": True, str(self.argument): cache, **position_arguments(self.model, seen, held)}
        if not bool(seen.all()):
            arguments["attention_mask"] = seen.long()
        if self.narrow:
            arguments["logits_to_keep"] = 1
        self.forwards += 1
        with self.running() as run, run:
            logits: Tensor = self.model(input_ids=ids, **arguments).logits
        if cached_length(cache) != seen.shape[1]:
            raise ValueError(
                f"{type(self.model).__name__} holds {cached_length(cache)} places after a text of {seen.shape[1]} tokens"
            )
        return logits[:, -1].float()


def alike(keys: Sequence[Hashable], texts: Texts) -> Iterator[list[Hashable]]:
    """Groups of texts of which none is more than twice as long as another, so that padding at most doubles the work."""
    by_length = sorted(keys, key=lambda key: len(texts[key]))
    for _, group in groupby(by_length, key=lambda key: len(texts[key]).bit_length()):
        yield list(group)


def below(above: Float[Tensor, "*one width"], other: Float[Tensor, "*two width"]) -> Float[Tensor, "*both width"]:
    """Rows of states and further ones below them, the shorter filled up on the left."""
    length = max(above.shape[-2], other.shape[-2])
    return torch.cat([torch.nn.functional.pad(each, (0, 0, length - each.shape[-2], 0)) for each in (above, other)])


def with_last_first(states: Float[Tensor, "*shape"], rows: Int[Tensor, "chosen"]) -> Float[Tensor, "*shape"]:
    """The states with the last place of some rows moved before their first, where padding stands."""
    rows = rows.to(states.device)
    return states.index_copy(0, rows, states[rows].roll(1, dims=-2))


def check_rows(model: PreTrainedModel) -> None:
    """The model's state is keys and values, of which rows can be joined, left out and filled up.

    Raises:
        ValueError: Naming what else it keeps.
    """
    name = type(model).__name__
    if model.config.is_encoder_decoder or cache_argument(model) is None:
        raise ValueError(f"{name} keeps no cache of transformers' own that texts could join and leave; use a decoder-only model")
    if keeps_state_in_modules(model):
        raise ValueError(f"{name} keeps its recurrent state in its modules, one text's at a time; use a model of attention alone")
    cache = new_cache(model)
    if is_own_kind(cache) or not has_windows_at_most(cache):
        kinds = ", ".join(sorted({type(layer).__name__ for layer in cache.layers}))
        raise ValueError(
            f"{name} keeps {kinds or type(cache).__name__}, whose rows cannot join and leave; use a model of attention alone"
        )
    check_no_own_tokens(model)
