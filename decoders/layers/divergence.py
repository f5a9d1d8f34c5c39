"""How far two distributions over the vocabulary are apart: what DoLa chooses its early layer by."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def jensen_shannon(p: Float[Tensor, "*batch vocabulary"], q: Float[Tensor, "*batch vocabulary"]) -> Float[Tensor, "*batch"]:
    """The divergence JSD(p, q) = (KL(p || m) + KL(q || m)) / 2 in nats, m = (p + q) / 2, of log-probabilities ``p`` and ``q``.

    The rule of the DoLa paper (Chuang et al. 2024, arXiv 2309.03883, section 2.2). Between 0 and ln 2.

    Example:
        >>> import torch
        >>> jensen_shannon(torch.tensor([1.0, 0.0]).log(), torch.tensor([0.0, 1.0]).log())
        tensor(0.6931)
    """
    mean = mixture(p, q)
    return 0.5 * (kullback_leibler(p, mean) + kullback_leibler(q, mean))


def released_divergence(p: Float[Tensor, "*batch vocabulary"], q: Float[Tensor, "*batch vocabulary"]) -> Float[Tensor, "*batch"]:
    """The divergence (KL(m || p) + KL(m || q)) / (2 |V|), m = (p + q) / 2, of log-probabilities ``p`` and ``q``.

    What DoLa's released code and transformers 4 compute in the place of :func:`jensen_shannon`: the arguments of the divergence
    change places, and the mean over the vocabulary replaces the sum. It can choose another layer.

    Example:
        >>> import torch
        >>> released_divergence(torch.tensor([0.5, 0.5]).log(), torch.tensor([0.9, 0.1]).log())
        tensor(0.0590)
    """
    weight = p.exp().add_(q.exp()).mul_(0.5)
    both = weight.log().mul_(2).sub_(p).sub_(q).mul_(weight)  # in place: large tensors are dear to allocate
    return 0.5 * both.masked_fill_(weight == 0, 0.0).sum(dim=-1) / p.shape[-1]


def mixture(p: Tensor, q: Tensor) -> Tensor:
    """The logarithm of (p + q) / 2, of log-probabilities."""
    return torch.logaddexp(p, q).sub_(math.log(2))


def kullback_leibler(p: Tensor, q: Tensor) -> Tensor:
    """The divergence KL(p || q) = sum_v p(v) (ln p(v) - ln q(v)), of log-probabilities; a p(v) of 0 adds nothing."""
    weight = p.exp()
    return (p - q).mul_(weight).masked_fill_(weight == 0, 0.0).sum(dim=-1)  # in place: large tensors are dear to allocate
