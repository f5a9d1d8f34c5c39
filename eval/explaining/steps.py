"""What is told of a step: numbers and words made of what the decoder computed, which a watcher was shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from counterpoint.decoders.base import ContrastParts
from counterpoint.decoders.watching import SearchStep

MOST = 8
"""Candidates that are told for each distribution: the best of the model, of the decoder, and of what it stays away from."""

Spell = Callable[[int], str]
"""The text of one token."""


def told(
    logits: Float[Tensor, " vocabulary"],
    scores: Float[Tensor, " vocabulary"],
    token: int,
    computed: Mapping[str, Any],
    spell: Spell,
) -> dict[str, Any]:
    """One token of the text: how the model ranked it, what the decoder made of that, and the candidates beside it.

    Args:
        logits: The model's own.
        scores: What the token was chosen by.
        token: The token that was taken.
        computed: What the decoder showed: "parts" (:class:`ContrastParts`) or "search" (:class:`SearchStep`), of one row.
        spell: Gives a token's text.
    """
    parts: ContrastParts | None = computed.get("parts")
    search: SearchStep | None = computed.get("search")
    model = logits.float().softmax(dim=-1)
    columns: dict[str, Tensor] = {"model": model}
    if parts is not None:
        if not torch.equal(parts.positive[0].float(), logits.float()):
            columns["positive"] = parts.positive[0].float().softmax(dim=-1)
        if parts.negative is not None:
            columns["negative"] = parts.negative[0].float().softmax(dim=-1)
        columns["contrast"] = parts.scores[0].float()
    if search is None:
        columns["decoder"] = scores.float().softmax(dim=-1)
    shown = {token, *best(model)} | {one for column in columns.values() for one in best(column)}
    found: dict[str, Any] = {
        "id": token,
        "text": spell(token),
        "greedy_rank": rank(logits, token),
        "greedy": {"id": int(logits.argmax()), "text": spell(int(logits.argmax()))},
        "model_probability": float(model[token]),
        "cut": int(((scores == -torch.inf) & (logits > -torch.inf)).sum()),
    }
    if search is not None:
        at = {int(each): place for place, each in enumerate(search.candidates[0])}
        shown = set(at)
        columns |= {
            name: spread(len(model), search.candidates[0], value[0])
            for name, value in (("penalty", search.similarity), ("score", search.scores))
        }
        chosen = at[token]
        alpha = search.alpha
        found |= {
            "alpha": alpha if isinstance(alpha, float) else float(alpha[0, 0]),
            "k": int((search.scores[0] > -torch.inf).sum()),
            "nearest": int(search.nearest[0, chosen]),
            "similarity": float(search.similarity[0, chosen]),
        }
    elif parts is not None and parts.negative is not None:
        found["negative_rank"] = rank(parts.negative[0], token)
    if search is None:
        found["probability"] = float(columns["decoder"][token])
    order = columns["score" if search is not None else "decoder"]
    found["candidates"] = [
        {
            "id": one,
            "text": spell(one),
            **{name: number(column[one]) for name, column in columns.items()},
            **({"nearest": int(search.nearest[0, at[one]])} if search is not None else {}),
            "chosen": one == token,
        }
        for one in sorted(shown, key=lambda one: (-float(order[one]), -float(model[one]), one))
    ]
    return found | ({"choice": choice(parts.choice)} if parts is not None and parts.choice else {})


def best(column: Float[Tensor, " vocabulary"]) -> list[int]:
    """The tokens with the largest values, but for those of no probability and those that were cut."""
    values, places = column.topk(min(MOST, len(column)))
    return [int(place) for value, place in zip(values, places, strict=True) if math.isfinite(value) and value != 0]


def rank(logits: Float[Tensor, " vocabulary"], token: int) -> int:
    """1 for the best token, and for those that tie with it."""
    return 1 + int((logits > logits[token]).sum())


def spread(size: int, places: Tensor, values: Tensor) -> Tensor:
    """A column with these values, -inf elsewhere."""
    return torch.full((size,), -torch.inf).scatter(0, places.cpu(), values.float().cpu())


def number(value: Tensor) -> float | None:
    """A number as JSON can have it: none for what was cut."""
    return float(value) if math.isfinite(value) else None


def choice(values: Mapping[str, Tensor]) -> dict[str, Any]:
    """What was chosen and why: small tensors of one position as lists; a mask of the vocabulary is left out."""
    rows = {name: value[0].tolist() for name, value in values.items() if value[0].numel() <= 256}
    return {name: [number(torch.tensor(each)) for each in row] if isinstance(row, list) else row for name, row in rows.items()}
