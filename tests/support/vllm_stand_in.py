"""vLLM's interface to logits processors, and an engine that calls one as vLLM calls it, where vLLM is not installed.

Written from what vLLM documents of its V1 interface: a batch whose rows keep their indices until a request leaves, whereupon the
last rows move into the gaps; requests that are preempted and come back with the tokens they had; prompts that are read in parts.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor


class MoveDirectionality(Enum):
    """How a row moves."""

    UNIDIRECTIONAL = auto()
    SWAP = auto()


@dataclass(frozen=True)
class BatchUpdate:
    """Rows that have gone, come and moved, in this order."""

    batch_size: int
    removed: Sequence[int] = ()
    added: Sequence[tuple[int, Any, list[int] | None, list[int]]] = ()
    moved: Sequence[tuple[int, int, MoveDirectionality]] = ()


class LogitsProcessor:
    """The base class."""


def process_dict_updates(entries: dict[int, Any], update: BatchUpdate | None, new: Callable[..., Any]) -> None:
    """Follow a batch with what is kept of some of its rows."""
    if update is None:
        return
    for index in update.removed:
        entries.pop(index, None)
    for index, *request in update.added:
        entries.pop(index, None)
        state = new(*request)
        if state is not None:
            entries[index] = state
    for one, other, direction in update.moved:
        here, there = entries.pop(one, None), entries.pop(other, None)
        if here is not None:
            entries[other] = here
        if there is not None and direction is MoveDirectionality.SWAP:
            entries[one] = there


class V2LogitsProcessor:
    """The base class of the V2 interface."""


@contextmanager
def installed() -> Iterator[None]:
    """Within the context, the modules that hold the interface can be imported."""
    modules = {name: ModuleType(name) for name in PARENTS}
    modules[V1].__dict__.update(BatchUpdate=BatchUpdate, LogitsProcessor=LogitsProcessor)
    modules[f"{V1}.builtin"].__dict__.update(process_dict_updates=process_dict_updates)
    modules[V2].__dict__.update(LogitsProcessor=V2LogitsProcessor, LogitsContext=object, LogitsProcRequestState=object)
    ours = [f"counterpoint.eval.engines.vllm.{name}" for name in ("v1", "v2")]
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        for name in ours:
            patch.delitem(sys.modules, name, raising=False)
        yield
        for name in ours:
            sys.modules.pop(name, None)


V1, V2 = "vllm.v1.sample.logits_processor", "vllm.v1.worker.gpu.sample.logits_processor"
PARENTS = [".".join(path.split(".")[:end]) for path in (f"{V1}.builtin", V2) for end in range(1, path.count(".") + 2)]


def config(folder: Any, additional: Mapping[str, Any], **others: Any) -> SimpleNamespace:
    """What a processor reads of a server's configuration."""
    served = dict(
        model=str(folder),
        tokenizer=str(folder),
        revision=None,
        tokenizer_revision=None,
        trust_remote_code=False,
        dtype=torch.float32,
        max_model_len=128,
        enable_prompt_embeds=False,
        is_multimodal_model=False,
        get_vocab_size=lambda: 8192,
    )
    model = SimpleNamespace(**{**served, **others.pop("served", {})})
    return SimpleNamespace(model_config=model, additional_config=dict(additional), speculative_config=None, **others)


@dataclass(eq=False)
class Asked:
    """A request."""

    prompt: list[int]
    extra_args: dict[str, Any] | None
    max_tokens: int = 12
    temperature: float = 0.0
    output: list[int] = field(default_factory=list)
    unread: int = 0
    """Steps in which parts of the prompt are still to be read."""


Check = Callable[[Asked, Tensor, Tensor], None]
"""Is given a request, the model's logits of its next token and what the processor has made of them."""


class Engine:
    """Greedy search over requests that come and go, at most ``width`` of them in the batch.

    Args:
        logits: The model's logits of the token after a text.
        processor: The processor that is called.
        width: Rows of the batch.
        seed: Of the random numbers that say who is preempted and which rows change places.
    """

    def __init__(self, logits: Callable[[list[int]], Tensor], processor: Any, *, width: int, seed: int) -> None:
        self.logits, self.processor, self.width = logits, processor, width
        self.chance = random.Random(seed)  # noqa: S311
        self.rows: list[Asked] = []
        self.preempted = self.moves = 0

    def run(self, requests: Sequence[Asked], check: Check) -> None:
        """All requests, to their ends."""
        waiting = list(requests)
        while waiting or self.rows:
            self._step(waiting, check)

    def _step(self, waiting: list[Asked], check: Check) -> None:
        gone = [index for index, row in enumerate(self.rows) if len(row.output) >= row.max_tokens]
        if len(self.rows) > 1 and self.chance.random() < 0.15:
            index = self.chance.randrange(len(self.rows))
            if index not in gone:
                gone.append(index)
                row = self.rows[index]
                row.output = list(row.output)  # a request that comes back has a list of its own
                waiting.append(row)
                self.preempted += 1
        update = self._update(gone, waiting)
        self.processor.update_state(update)
        if not self.rows:
            return
        logits = torch.stack([self.logits([*row.prompt, *row.output]) for row in self.rows])
        found = self.processor.apply(logits.clone())
        for row, before, after in zip(self.rows, logits, found, strict=True):
            check(row, before, after)
            if row.unread:
                row.unread -= 1
            else:
                row.output.append(int(after.argmax()))

    def _update(self, gone: list[int], waiting: list[Asked]) -> BatchUpdate | None:
        places: list[Asked | None] = [None if index in gone else row for index, row in enumerate(self.rows)]
        added, moved = [], []
        removed = sorted(gone)
        while waiting and sum(row is not None for row in places) < self.width:
            row, index = waiting.pop(0), removed.pop(0) if removed else len(places)
            if index == len(places):
                places.append(None)
            places[index] = row
            params = SimpleNamespace(extra_args=row.extra_args, temperature=row.temperature)
            added.append((index, params, list(row.prompt), row.output))
        while None in places:  # the last rows slide into the gaps
            last = places.pop()
            if last is not None:
                gap = places.index(None)
                places[gap] = last
                moved.append((len(places), gap, MoveDirectionality.UNIDIRECTIONAL))
        if len(places) > 1 and self.chance.random() < 0.2:
            one, other = self.chance.sample(range(len(places)), 2)
            places[one], places[other] = places[other], places[one]
            moved.append((one, other, MoveDirectionality.SWAP))
        self.rows = [row for row in places if row is not None]
        self.moves += len(moved)
        return BatchUpdate(len(self.rows), removed, added, moved) if removed or added or moved else None
