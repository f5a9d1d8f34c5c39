"""The arithmetic of contrastive search: model confidence against the degeneration penalty.

Su et al., *A Contrastive Framework for Neural Text Generation* (2022, arXiv 2202.06417), equation 5.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


def contrastive_scores(
    probabilities: Float[Tensor, "rows k"],
    similarity: Float[Tensor, "rows k"],
    alpha: float | Float[Tensor, "rows 1"],
) -> Float[Tensor, "rows k"]:
    """(1 - alpha) * p(v) - alpha * max_j cos(h_v, h_{x_j}) for every candidate v (equation 5 of arXiv 2202.06417).

    Example:
        >>> import torch
        >>> contrastive_scores(torch.tensor([[0.5, 0.25]]), torch.tensor([[1.0, 0.0]]), 0.5)
        tensor([[-0.2500,  0.1250]])
    """
    return (1 - alpha) * probabilities - alpha * similarity


def on_candidates(
    scores: Float[Tensor, "rows vocabulary"], candidates: Int[Tensor, "rows k"], values: Float[Tensor, "rows k"]
) -> Float[Tensor, "rows vocabulary"]:
    """``values`` for the candidates and -inf for all other tokens, and for candidates that ``scores`` ban.

    Example:
        >>> import torch
        >>> on_candidates(torch.tensor([[2.0, -torch.inf, 1.0]]), torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.25]]))
        tensor([[0.5000,   -inf,   -inf]])
    """
    kept = values.masked_fill(scores.gather(1, candidates) == -torch.inf, -torch.inf)
    return torch.full_like(scores, -torch.inf).scatter(1, candidates, kept.to(scores.dtype))


def unit(hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch hidden"]:
    """States of length 1, h / |h|: the product of two is their cosine.

    Example:
        >>> import torch
        >>> unit(torch.tensor([3.0, 4.0]))
        tensor([0.6000, 0.8000])
    """
    return nn.functional.normalize(hidden, dim=-1)


class Context:
    """:func:`unit` last hidden states of every token so far, in a buffer that a step adds one column to in place."""

    def __init__(self, hidden: Float[Tensor, "rows length hidden"], seen: Bool[Tensor, "rows length"] | None) -> None:
        self.length = 0
        self.states = hidden.new_empty(0)
        self.seen = seen
        self.append(hidden)

    def append(self, hidden: Float[Tensor, "rows new hidden"]) -> None:
        """Add the unit states of new tokens."""
        rows, new, width = hidden.shape
        end = self.length + new
        if self.states.ndim == 1 or end > self.states.shape[1]:
            grown = hidden.new_empty(rows, end + end // 4 + 16, width)
            if self.length:
                grown[:, : self.length] = self.states[:, : self.length]
            self.states = grown
        self.states[:, self.length : end] = hidden
        self.length = end

    def select(self, rows: Int[Tensor, "new_rows"] | None, length: int) -> None:
        """Go back to the first ``length`` tokens of these rows, in this order (None: all as they are)."""
        if rows is not None:
            self.states = self.states[rows.to(self.states.device)]
        self.length = length

    def similarity(self, candidates: Float[Tensor, "rows k hidden"]) -> Float[Tensor, "rows k"]:
        """max_j cos(h_v, h_{x_j}) of unit states over the tokens so far, padding left out."""
        return self.cosine(candidates).amax(dim=-1)

    def cosine(self, candidates: Float[Tensor, "rows k hidden"]) -> Float[Tensor, "rows k length"]:
        """cos(h_v, h_{x_j}) with each token so far, the smallest of numbers where it is padding."""
        cosine = candidates @ self.states[:, : self.length].transpose(1, 2)
        if self.seen is not None:
            prompt = cosine[..., : self.seen.shape[1]]
            prompt.masked_fill_(~self.seen[:, None, :].to(cosine.device), torch.finfo(cosine.dtype).min)
        return cosine
