"""How sure a model is of the tokens that it writes, from its logits alone: self-certainty, and the confidence of DeepConf."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

MEASURES = ("lowest", "bottom", "tail", "mean")
BOTTOM = 0.1
"""The share of windows that "bottom" takes."""


def self_certainty(logits: Float[Tensor, "*batch vocabulary"]) -> Float[Tensor, "*batch"]:
    """KL(uniform || p) = -(1 / |V|) * sum_v ln(|V| * p(v)) of each distribution, in nats: 0 for the uniform one, higher if surer.

    Kang et al., *Scalable Best-of-N Selection for Large Language Models via Self-Certainty* (2025, arXiv 2502.18581). Computed in
    float32 at least.

    Example:
        >>> import torch
        >>> from counterpoint.rankers import self_certainty
        >>> self_certainty(torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]]).log())
        tensor([0.4298, 0.0000])
    """
    known = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return (known.logsumexp(dim=-1) - known.mean(dim=-1) - math.log(known.shape[-1])).clamp(min=0)


def token_confidence(logits: Float[Tensor, "*batch vocabulary"], *, top: int = 20) -> Float[Tensor, "*batch"]:
    """C = -(1 / k) * sum of the k largest ln p of each distribution: the surer the likeliest token, the less likely its runners-up.

    Fu et al., *Deep Think with Confidence* (2025, arXiv 2508.15260), whose k is 20. Computed in float32 at least.

    Args:
        logits: The logits.
        top: k, far fewer than there are tokens: over all of them even the uniform distribution is confident.

    Raises:
        ValueError: For a ``top`` below 1 or above the number of tokens.

    Example:
        >>> import torch
        >>> from counterpoint.rankers import token_confidence
        >>> token_confidence(torch.tensor([0.7, 0.1, 0.1, 0.1]).log(), top=2)
        tensor(1.3296)
    """
    if not 1 <= top <= logits.shape[-1]:
        raise ValueError(f"top={top}: there are {logits.shape[-1]} tokens; take a few of the likeliest, 20 as released")
    known = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return known.logsumexp(dim=-1) - known.topk(top, dim=-1).values.mean(dim=-1)


def trace_confidence(tokens: Sequence[float], *, measure: str = "lowest", window: int = 2048) -> float:
    """The confidence of a text from that of its tokens, over windows of W tokens that slide token by token.

        lowest    the least mean of a window
        bottom    the mean over the tenth of the windows whose means are least, at least one of them
        tail      the mean of the last W tokens
        mean      the mean of all tokens

    A text shorter than W is one window. Fu et al., *Deep Think with Confidence* (2025, arXiv 2508.15260), W = 2048.

    Args:
        tokens: C of each token, one at least.
        measure: One of the four.
        window: W.

    Example:
        >>> from counterpoint.rankers import trace_confidence
        >>> [trace_confidence([2.0, 1.0, 3.0, 1.0], measure=name, window=2) for name in ("lowest", "bottom", "tail", "mean")]
        [1.5, 1.5, 2.0, 1.75]
    """
    values = torch.tensor(list(tokens), dtype=torch.float64)
    if measure == "mean":
        return float(values.mean())
    if measure == "tail":
        return float(values[-window:].mean())
    groups = values.unfold(0, min(window, len(values)), 1).mean(dim=-1)
    lowest = 1 if measure == "lowest" else max(1, int(BOTTOM * len(groups)))
    return float(groups.sort().values[:lowest].mean())


def least_kept(scores: Sequence[float], *, keep: float) -> float:
    """The score that the share ``keep`` of the scores reach: their quantile 1 - keep, interpolated linearly.

    Of the warm-up texts of DeepConf it is the confidence below which others are ended, ``keep`` 0.1 in its "low" and 0.9 in its
    "high" form (Fu et al., *Deep Think with Confidence*, 2025, arXiv 2508.15260).

    Example:
        >>> from counterpoint.rankers import least_kept
        >>> [round(least_kept([1.0, 2.0, 3.0, 4.0], keep=keep), 6) for keep in (0.9, 0.1)]
        [1.3, 3.7]
    """
    return float(torch.tensor(list(scores), dtype=torch.float64).quantile(1 - keep))
