"""Showing what a method computes, step by step, to whoever watches a generation; without one nothing is computed for it.

A :class:`~counterpoint.decoders.DistributionProcessor` shows its :class:`~counterpoint.decoders.ContrastParts`, anybody's own as
well as ours; contrastive search shows a :class:`SearchStep`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

Watcher = Callable[[object, Int[Tensor, "rows length"], Any], object]
"""Is given the decoder, the ids before the step, and what was computed."""

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@dataclass(frozen=True)
class SearchStep:
    """A step of contrastive search: how its candidates were judged.

    Example:
        >>> import torch
        >>> from counterpoint.decoders import SearchStep
        >>> step = SearchStep(
        ...     candidates=torch.tensor([[7, 9]]), confidence=torch.tensor([[0.6, 0.3]]), similarity=torch.tensor([[0.9, 0.2]]),
        ...     nearest=torch.tensor([[0, 1]]), scores=torch.tensor([[-0.3, 0.0]]), alpha=0.6, chosen=torch.tensor([1]))
        >>> step.candidates[0, step.chosen[0]].item()
        9
    """

    candidates: Int[Tensor, "rows k"]
    confidence: Float[Tensor, "rows k"]
    """p(v), the model's probability of each candidate."""
    similarity: Float[Tensor, "rows k"]
    """The degeneration penalty max_j cos(h_v, h_{x_j})."""
    nearest: Int[Tensor, "rows k"]
    """The position j of the token before it that each candidate is most like."""
    scores: Float[Tensor, "rows k"]
    """(1 - alpha) * confidence - alpha * similarity; -inf for candidates that are not allowed."""
    alpha: float | Float[Tensor, "rows 1"]
    chosen: Int[Tensor, "rows"]
    """The index of the candidate that was taken."""


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Within the context, every step of a generation on this thread is shown to ``watcher(decoder, ids, computed)``.

    What is shown is what the text is made from; it must not be changed.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import contrastive_search, watched
        >>> from counterpoint.eval import AMATEUR
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
        >>> steps = []
        >>> with watched(lambda decoder, ids, step: steps.append(step.candidates.shape[1])):
        ...     ids = model.generate(
        ...         **tokenizer("The whale", return_tensors="pt"), max_new_tokens=3, custom_generate=contrastive_search,
        ...         penalty_alpha=0.6, top_k=4)
        >>> steps
        [4, 4, 4]
    """
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def current_watcher() -> Watcher | None:
    """Who watches this thread's generation."""
    return _watcher.get()
