"""Penalties on repeating a text, counted by hand: lists of tokens, one full forward, no tensor operation over places.

Nothing here uses the library.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

Penalty = Callable[[int], float]
"""Of a candidate after a given text."""


def ngrams(text: list[int], n: int, beta: float) -> Penalty:
    """The interpolated n-gram model of arXiv 2305.12675 as its code has it: an order that does not know v leaves its share."""

    def penalty(v: int) -> float:
        if len(text) < n - 1:
            return 0.0
        left, found = 1.0, 0.0
        for order in range(n - 1, -1, -1):
            context = text[len(text) - order :]
            followers = [text[i + order] for i in range(len(text) - order) if text[i : i + order] == context]
            if v in followers:
                share = beta * followers.count(v) / (len(followers) + 1) if order else followers.count(v) / len(followers)
                found += left * share
                left *= 1 - beta
        return found

    return penalty


def vectors(text: list[int], states: Tensor, n: int) -> Penalty:
    """The largest cosine, 0 at least, of the last n - 1 states with n - 1 states in a row that v has followed."""

    def penalty(v: int) -> float:
        if len(text) < n:
            return 0.0
        last = states[len(text) - n + 1 :].flatten()
        earlier = [states[i : i + n - 1].flatten() for i in range(len(text) - n + 1) if text[i + n - 1] == v]
        return max([0.0, *(float(torch.dot(last, one) / (last.norm() * one.norm())) for one in earlier)])

    return penalty


def frustratingly_simple(scores: Tensor, penalty: Penalty, alpha: float, top_k: int) -> Tensor:
    """The scores (1 - alpha) p(v) - alpha q(v) of the ``top_k`` most probable v, -inf for all others."""
    p = scores.double().softmax(-1)
    found = torch.full_like(p, -torch.inf)
    for v in p.topk(top_k).indices.tolist():
        if scores[v] > -torch.inf:
            found[v] = (1 - alpha) * p[v] - alpha * penalty(v)
    return found


def last_states(model: Any, text: Tensor) -> Tensor:
    """Last hidden states ``[length, hidden]`` of a text ``[length]``."""
    return _states(model, tuple(text.tolist()))


@cache
def _states(model: Any, text: tuple[int, ...]) -> Tensor:
    with torch.no_grad():
        output = model(input_ids=torch.tensor([text]), use_cache=False, output_hidden_states=True)
    states: Tensor = output.hidden_states[-1][0].double()
    return states
