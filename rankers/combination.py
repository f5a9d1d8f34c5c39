"""Several rankers as one: a weighted sum of their scores, each brought to the same scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from counterpoint.rankers.base import CandidateScorer, Ranker, Scores, Texts

ROUNDING = 1e-6
"""Relative spread that float32 gives to scores that are equal."""


class CombinedRanker(Ranker):
    """Scores by sum_i w_i * z_i, where z_i are a ranker's scores, standardised over the candidates of a prefix.

        z(x) = (s(x) - mean of s) / (standard deviation of s)

    Rankers differ in unit and in spread; standardised, weights mean what they say. A single candidate, and candidates that a ranker
    does not tell apart, have z = 0. Mean and deviation are over finite scores: what a ranker bans (-inf) stays banned.

    Standardised scores depend on the set of candidates, and those of different prefixes do not compare. Without ``standardise`` the
    scores are summed as they are, as in ln p(x | prefix) + w * s(prefix, x), and are comparable if those of all rankers are.

    Each ranker reads the prefixes once.

    Args:
        rankers: The rankers, at least one.
        weights: Their weights w_i, negative ones against a ranker; 1 each by default.
        standardise: Whether scores are standardised.

    Raises:
        ValueError: For no rankers, another number of weights, or weights that are 0 or not finite.

    Example:
        >>> from counterpoint.rankers import CombinedRanker, ConsensusRanker, OverlapRanker
        >>> ranker = CombinedRanker([OverlapRanker(), ConsensusRanker()], weights=[1.0, 0.5])
        >>> scores, = ranker.score(["The white whale swam."], [[" The whale sang.", " The cook sang.", " Rain."]])
        >>> int(scores.argmax())
        0
    """

    def __init__(self, rankers: Sequence[Ranker], *, weights: Sequence[float] | None = None, standardise: bool = True) -> None:
        if not rankers:
            raise ValueError("rankers is empty: combine at least one")
        self.rankers = list(rankers)
        self.weights = [1.0] * len(self.rankers) if weights is None else list(weights)
        if len(self.weights) != len(self.rankers):
            raise ValueError(f"weights: {len(self.weights)} for {len(self.rankers)} rankers; give one each")
        for weight, ranker in zip(self.weights, self.rankers, strict=True):
            if weight == 0 or not math.isfinite(weight):
                raise ValueError(f"weights: {weight} for {type(ranker).__name__}; give a finite number, or leave the ranker out")
        self.standardise = standardise
        self.whole_texts = any(ranker.whole_texts for ranker in self.rankers)
        self.comparable = not standardise and all(ranker.comparable for ranker in self.rankers)

    @override
    def prepare(self, prefixes: Texts) -> CandidateScorer:
        scorers = [ranker.scorer(prefixes) for ranker in self.rankers]

        def scores_of(candidates: Sequence[Texts]) -> Scores:
            by_ranker = [scorer(candidates) for scorer in scorers]
            return [self.combined(scores) for scores in zip(*by_ranker, strict=True)]

        return scores_of

    def combined(self, scores: Sequence[Float[Tensor, " candidates"]]) -> Float[Tensor, " candidates"]:
        """The weighted sum of what each ranker gives the candidates of one prefix."""
        terms = map(standardised, scores) if self.standardise else scores
        total = sum((weight * term for weight, term in zip(self.weights, terms, strict=True)), torch.zeros_like(scores[0]))
        banned = torch.stack(list(scores)).isneginf().any(dim=0)  # whatever the sign of the weight
        return total.masked_fill(banned, -math.inf)


def standardised(scores: Float[Tensor, " candidates"]) -> Float[Tensor, " candidates"]:
    """Finite scores less their mean, over their standard deviation; 0 where they do not differ. Infinite ones stay.

    Example:
        >>> import torch
        >>> standardised(torch.tensor([1.0, 3.0, -torch.inf])), standardised(torch.tensor([7.0, 7.0]))
        (tensor([-1.,  1., -inf]), tensor([0., 0.]))
    """
    finite = scores.isfinite()
    known = scores[finite].double()
    if not len(known):
        return scores
    away = known - known.mean()
    deviation = away.square().mean().sqrt()
    flat = float(known.max() - known.min()) <= ROUNDING * float(known.abs().max())
    result = scores.clone()
    result[finite] = (torch.zeros_like(away) if flat else away / deviation).float()
    return result
