"""InfoNCE: the loss by which an encoder learns to tell a passage's continuation from others.

Krishna et al., *RankGen: Improving Text Generation with Large Ranking Models* (EMNLP 2022, arXiv 2205.09726), section 3.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from counterpoint.rankers.base import Ranker
from counterpoint.rankers.bi_encoder import Side

Tokens = Mapping[str, Tensor]


class TrainableEncoder(nn.Module, ABC):
    """A module whose vectors' dot products are scores, and its tokenizer."""

    @abstractmethod
    def tokens(self, texts: Sequence[str], side: Side) -> Tokens:
        """The texts' tokens, padded: what the module is called with."""

    @abstractmethod
    def forward(self, **tokens: Tensor) -> Float[Tensor, "texts width"]:
        """Their vectors."""

    @abstractmethod
    def as_ranker(self) -> Ranker:
        """The ranker that it is now."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write it as a ranker that loads."""


def info_nce(prefixes: Float[Tensor, "rows width"], candidates: Float[Tensor, "candidates width"]) -> Float[Tensor, ""]:
    r"""Mean over a minibatch's prefixes p_i of -ln [ exp(p_i . c_i) / sum_j exp(p_i . c_j) ].

    The candidates are the true continuations in the prefixes' order, then the generated ones: equation 1 of Krishna et al. (2022,
    arXiv 2205.09726), with no temperature and no normalisation, as a mean where theirs is a sum.

    Args:
        prefixes: Their vectors.
        candidates: The vectors of all continuations, the prefixes' own first.

    Example:
        >>> import torch
        >>> from counterpoint.rankers.training.info_nce import info_nce
        >>> info_nce(torch.eye(2), torch.zeros(4, 2))  # four candidates alike: ln 4
        tensor(1.3863)
    """
    scores = prefixes.float() @ candidates.float().T
    return nn.functional.cross_entropy(scores, torch.arange(len(prefixes), device=scores.device))


class Contrastive(nn.Module):
    """The loss of a minibatch as a function of its tokens.

    With ``micro_batch_size`` only so many texts' activations are in memory at once, whatever the minibatch: the vectors of each
    part are computed without keeping them, and again when the gradient comes back, which is the gradient cache of Gao et al. (2021,
    arXiv 2101.06983) by way of activation checkpointing. Loss and gradients are the same.

    Args:
        encoder: The encoder that is trained.
        micro_batch_size: Number of texts that are encoded at once; None for all of a minibatch.
    """

    def __init__(self, encoder: TrainableEncoder, micro_batch_size: int | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.micro_batch_size = micro_batch_size

    def state_dict(self, *arguments: Any, **keywords: Any) -> dict[str, Any]:  # type: ignore[override]
        """The weights, those that two layers share once, as safetensors have them."""
        weights: dict[str, Any] = super().state_dict(*arguments, **keywords)
        first = first_names(weights)
        return {name: weight for name, weight in weights.items() if first[name] == name}

    def load_state_dict(self, state_dict: Mapping[str, Any], *arguments: Any, **keywords: Any) -> Any:
        """Load what :meth:`state_dict` gave."""
        whole = {name: state_dict[first] for name, first in first_names(super().state_dict()).items()}
        return super().load_state_dict(whole, *arguments, **keywords)

    def forward(self, prefixes: Tokens, candidates: Tokens, return_loss: bool = True) -> dict[str, Tensor]:
        """The loss, under the name by which transformers' trainer finds it."""
        return {"loss": info_nce(self.vectors(prefixes), self.vectors(candidates))}

    def vectors(self, tokens: Tokens) -> Float[Tensor, "texts width"]:
        """Vectors of all texts."""
        rows = len(next(iter(tokens.values())))
        if self.micro_batch_size is None or self.micro_batch_size >= rows:
            vectors: Tensor = self.encoder(**tokens)
            return vectors
        parts = zip(*(tensor.split(self.micro_batch_size) for tensor in tokens.values()), strict=True)
        return torch.cat([checkpoint(self.encoder, use_reentrant=False, **dict(zip(tokens, part, strict=True))) for part in parts])


def first_names(weights: dict[str, Tensor]) -> dict[str, str]:
    """The first name among the weights that share a weight's memory, for the name of each weight."""
    first = {weight.data_ptr(): name for name, weight in reversed(weights.items())}
    return {name: first[weight.data_ptr()] for name, weight in weights.items()}
