"""The candidate that agrees best with the others: minimum Bayes risk."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from counterpoint.rankers.base import CandidateScorer, Ranker, Texts
from counterpoint.rankers.utilities import AggregateUtility, NgramF1, Utility

FIRST = 8
"""References that all candidates meet before any is pruned; twice as many each time, as in the paper."""
BOOTSTRAPS = 500


class ConsensusRanker(Ranker):
    """Scores a candidate by its mean similarity to the other candidates of its prefix: the least Bayes risk.

        s(x_i) = 1 / (N - 1) * sum_{j != i} u(x_i, x_j)

    Candidates that were sampled stand for the distribution they come from, and the sum is an estimate of the utility expected under
    it (Kumar and Byrne 2004; Eikema and Aziz 2020, arXiv 2005.10283, *Is MAP Decoding All You Need?*). A text that was sampled
    twice counts twice.

    N candidates take N^2 comparisons. With ``aggregate`` they take N: each is compared with the mean of the others, their mean
    counts of n-grams or their mean vector (DeNero et al. 2009; Vamvas and Sennrich, *Linear-time Minimum Bayes Risk Decoding with
    Reference Aggregation*, 2024, arXiv 2402.04251), which is exact for cosines and near for F-scores. With ``prune`` candidates
    meet 8, 16, 32, ... of the references, and those that are not likely to be the best drop out (Cheng and Vlachos, *Faster Minimum
    Bayes Risk Decoding with Confidence-based Pruning*, 2023, arXiv 2311.14919): those left have their full scores, and the others
    stand below them.

    Scores depend on the set of candidates, and on nothing of the prefix; they are not comparable across prefixes. A single
    candidate has nothing to agree with and scores 0.

    Args:
        utility: u(hypotheses, references), ``[hypotheses, references]``; :class:`~counterpoint.rankers.NgramF1` of single words by
            default. Others: :class:`~counterpoint.rankers.ChrF`, :class:`~counterpoint.rankers.Bleu`,
            :class:`~counterpoint.rankers.EmbeddingCosine`, or any function.
        aggregate: Whether each is compared with the mean of the others.
        itself: Whether the mean is over all N, the candidate among them, as other code has it. The order stays where
            u(x, x) is the same for all texts.
        prune: A candidate drops out if it ties with or beats the best in at most 1 - prune of 500 bootstraps; 0.99 in the paper,
            0 prunes nothing.

    Raises:
        ValueError: For ``aggregate`` of a utility that has no mean, together with ``prune``, or a ``prune`` outside [0, 1); from
            scoring, if ``utility`` gives another shape.

    Example:
        >>> from counterpoint.rankers import ChrF, ConsensusRanker
        >>> ConsensusRanker().score(["They saw"], [[" the old sea", " the sea", " a dog"]])
        [tensor([0.4000, 0.4000, 0.0000])]
        >>> scores, = ConsensusRanker(utility=ChrF(), aggregate=True).score(["They saw"], [[" the old sea", " the sea", " a dog"]])
        >>> int(scores.argmax())
        0
    """

    comparable = False

    def __init__(
        self,
        *,
        utility: Utility | AggregateUtility | None = None,
        aggregate: bool = False,
        itself: bool = False,
        prune: float = 0.0,
    ) -> None:
        found = NgramF1() if utility is None else utility
        if aggregate and not isinstance(found, AggregateUtility):
            raise ValueError(f"aggregate=True: {found!r} has no mean of references; pass an AggregateUtility such as ChrF()")
        if not 0 <= prune < 1:
            raise ValueError(f"prune={prune}: give 0, which prunes nothing, or a confidence below 1, such as 0.99")
        if aggregate and prune:
            raise ValueError(f"aggregate=True with prune={prune}: there is one reference, the mean; leave one of them out")
        self.utility, self.aggregate, self.itself, self.prune = found, aggregate, itself, prune

    def __repr__(self) -> str:
        name = f"{self.utility!r}, aggregate={self.aggregate}, itself={self.itself}, prune={self.prune}"
        return f"ConsensusRanker(utility={name})"

    @override
    def prepare(self, prefixes: Texts) -> CandidateScorer:
        return lambda candidates: [self.agreement(texts) for texts in candidates]

    def agreement(self, texts: Texts) -> Float[Tensor, " hypotheses"]:
        """Each candidate's mean utility; equal texts are compared once and counted as often as they occur."""
        count = Counter(texts)
        distinct = list(count)
        if len(texts) == 0 or (len(texts) == 1 and not self.itself):
            return torch.zeros(len(texts))
        if self.prune:
            found = self.pruned(texts)
        elif self.aggregate and isinstance(self.utility, AggregateUtility):
            found = self.utility.against_mean(distinct, list(count.values()), itself=self.itself)
        else:
            pairs = self.pairs(distinct, distinct)
            found = self.mean((pairs * torch.tensor(list(count.values()))).sum(dim=1), pairs.diagonal(), len(texts))
        names = sorted(distinct) if self.prune else distinct
        scores = dict(zip(names, found.tolist(), strict=True))
        return torch.tensor([scores[text] for text in texts])

    def mean(
        self, total: Float[Tensor, " hypotheses"], own: Float[Tensor, " hypotheses"], texts: int
    ) -> Float[Tensor, " hypotheses"]:
        """The mean utility from the sum over all texts and the utility for the text itself."""
        return total / texts if self.itself else (total - own) / (texts - 1)

    def pairs(self, hypotheses: Texts, references: Texts) -> Float[Tensor, "hypotheses references"]:
        """The utility of each hypothesis for each reference."""
        found = self.utility(hypotheses, references)
        if found.shape != (len(hypotheses), len(references)):
            raise ValueError(
                f"utility gave {tuple(found.shape)} for {len(hypotheses)} hypotheses and {len(references)} references; it compares "
                "all with all"
            )
        return found.to("cpu", torch.float32)

    def pruned(self, texts: Texts) -> Float[Tensor, " distinct"]:
        """The mean utility of each distinct text, in their order as text; those that dropped out stand below the others."""
        everything, distinct = sorted(texts), sorted(set(texts))
        chance = torch.Generator().manual_seed(0)
        references = [everything[place] for place in torch.randperm(len(everything), generator=chance).tolist()]
        values = torch.zeros(len(distinct), len(references))
        alive, scores, done = list(range(len(distinct))), torch.zeros(len(distinct)), 0
        dropped: list[int] = []
        while done < len(references):
            upto = min(max(FIRST, 2 * done), len(references))
            values[alive, done:upto] = self.pairs([distinct[place] for place in alive], references[done:upto])
            done = upto
            scores[alive] = values[alive, :done].mean(dim=1)
            if done < len(references):
                kept = self.likely_best(values[alive, :done], chance)
                dropped += [place for place, keep in zip(alive, kept, strict=True) if not keep]
                alive = [place for place, keep in zip(alive, kept, strict=True) if keep]
        own = torch.stack([values[place, references.index(distinct[place])] for place in alive])
        scores[alive] = self.mean(values[alive].sum(dim=1), own, len(references))
        below = torch.nextafter(scores[alive].min(), torch.tensor(-math.inf))
        scores[dropped] = scores[dropped].clamp(max=float(below))
        return scores

    def likely_best(self, values: Float[Tensor, "hypotheses references"], chance: torch.Generator) -> Sequence[bool]:
        """Whether each hypothesis ties with or beats the best so far in enough bootstraps of the references."""
        draws = torch.randint(values.shape[1], (BOOTSTRAPS, values.shape[1]), generator=chance)
        times = torch.zeros(BOOTSTRAPS, values.shape[1]).scatter_add_(1, draws, torch.ones(draws.shape))
        means = values @ times.T
        wins = (means >= means[values.mean(dim=1).argmax()]).float().mean(dim=1)
        return [bool(share > 1 - self.prune) for share in wins.tolist()]
