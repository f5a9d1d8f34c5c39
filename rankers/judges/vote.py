"""The answer that most texts give: self-consistency, with votes that another ranker may weigh."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from counterpoint.rankers.base import CandidateScorer, Ranker, Scores, Texts
from counterpoint.rankers.judges.answers import Extract, extractor, normalised
from counterpoint.rankers.judges.measures import least_kept

EQUAL = 1e-9
"""Shares that differ by less are equal: they differ by their rounding."""
MOST = 1e-3
"""What texts of one answer differ by at most, enough for some thousand of them in float32."""


class VoteRanker(Ranker):
    """Scores a text by the share of the votes that its answer gets: self-consistency, plain or weighted.

        s(x_i) = sum_j w_j [answer(x_j) = answer(x_i)] / sum_j w_j

    Without a ranker every text has one vote (Wang et al., *Self-Consistency Improves Chain of Thought Reasoning in Language
    Models*, 2022, arXiv 2203.11171). With one, w_j is its score s_j of the text, as DeepConf weighs by confidence (Fu et al., *Deep
    Think with Confidence*, 2025, arXiv 2508.15260) and a weighted best-of-N by reward; with ``power`` it is the Borda count of
    self-certainty (Kang et al., *Scalable Best-of-N Selection for Large Language Models via Self-Certainty*, 2025, arXiv
    2502.18581):

        w_j = (N - r_j + 1)^power        r_j the rank by s_j, 1 the best of N; equal scores share their ranks' mean

    A text without an answer has no vote and scores 0. Of texts with one answer, and of answers with as many votes, that whose own
    score is higher stands first: by at most 0.001, and by less than what tells any two answers apart. All else that is equal keeps
    its order. Weights that are all 0 say nothing, and every text has one vote then.

    The released code of DeepConf replaces the weighted answer by the plain majority's where it computes several votes, its default;
    here the weighted one wins. Votes are of whole texts, so that :func:`~counterpoint.rankers.ranked_search` refuses rounds.
    Shares depend on the set of candidates.

    Args:
        ranker: Gives the weights; None is one vote each.
        answer: What a text's answer is: ``"auto"`` (boxed, else after "answer is", else the last number), ``"boxed"``,
            ``"number"``, ``"choice"`` (a letter of a multiple choice), a regular expression (its last match, or that match's first
            group), or a function from a text to its answer or None. They are compared as
            :func:`~counterpoint.rankers.normalised` has them.
        power: The Borda count's, 0 or more: 0 is the plain majority, 0.5 the released default. None weighs by the scores
            themselves, which have to be 0 or more.
        keep: The share of the texts that vote: those with s_j at or above the quantile 1 - keep (linear interpolation) of all that
            have an answer. DeepConf's "low" is 0.1, its "high" 0.9.
        equal: Whether two answers are the same, where equal text is too strict; each is compared with the first of every group.

    Raises:
        ValueError: For an ``answer`` that is no regular expression, ``keep`` outside (0, 1], a ``power`` below 0, either without a
            ranker; from scoring, for weights below 0 or infinite.

    Example:
        >>> from counterpoint.rankers import VoteRanker
        >>> texts = [" so 3", " it is 5", " The answer is 3.", " who knows?"]
        >>> VoteRanker().score(["1 + 2 ="], [texts])
        [tensor([0.6667, 0.3333, 0.6667, 0.0000])]
    """

    comparable = False
    whole_texts = True

    def __init__(
        self,
        ranker: Ranker | None = None,
        *,
        answer: str | Extract = "auto",
        power: float | None = None,
        keep: float = 1.0,
        equal: Callable[[str, str], bool] | None = None,
    ) -> None:
        if not 0 < keep <= 1:
            raise ValueError(f"keep={keep}: the share of texts that vote is above 0 and at most 1")
        if power is not None and not (isinstance(power, int | float) and 0 <= power < math.inf):
            raise ValueError(f"power={power!r}: give 0 (the majority) or more, or None to weigh by the scores themselves")
        for name, value, plain in (("power", power, None), ("keep", keep, 1)):
            if ranker is None and value != plain:
                raise ValueError(f"{name}={value} is of the scores of a ranker, and there is none: pass a ranker, or leave it out")
        self.ranker, self.answer, self.power, self.keep, self.equal = ranker, answer, power, keep, equal
        self.extract = extractor(answer)

    def __repr__(self) -> str:
        return f"VoteRanker({self.ranker!r}, answer={self.answer!r}, power={self.power}, keep={self.keep}, equal={self.equal!r})"

    @override
    def prepare(self, prefixes: Texts) -> CandidateScorer:
        weigh = None if self.ranker is None else self.ranker.scorer(prefixes)

        def scores_of(candidates: Sequence[Texts]) -> Scores:
            weights = [torch.ones(len(texts)) for texts in candidates] if weigh is None else weigh(candidates)
            return [self.shares(texts, own) for texts, own in zip(candidates, weights, strict=True)]

        return scores_of

    def answers(self, texts: Texts) -> list[str | None]:
        """Each text's answer, as it is compared: of those that ``equal`` finds the same the first."""
        found = [self.extract(text) for text in texts]
        plain = [(None if each is None else normalised(each)) or None for each in found]
        if self.equal is None:
            return plain
        firsts: list[str] = []
        grouped: list[str | None] = []
        for each in plain:
            same = None if each is None else next((first for first in firsts if each == first or self.equal(each, first)), None)
            if each is not None and same is None:
                firsts.append(each)
            grouped.append(same or each)
        return grouped

    def shares(self, texts: Texts, weights: Float[Tensor, " candidates"]) -> Float[Tensor, " candidates"]:
        """The share of each text's answer, and within it the order of the texts' own weights."""
        answers, scores = self.answers(texts), weights.double().tolist()
        voters = [place for place, answer in enumerate(answers) if answer is not None]
        if not voters:
            return torch.zeros(len(texts))
        weighed = [scores[place] for place in voters if scores[place] > -math.inf]
        least = least_kept(weighed, keep=self.keep) if weighed and self.keep < 1 else -math.inf
        voters = [place for place in voters if scores[place] >= least]
        votes = [0.0] * len(texts)
        for place, vote in zip(voters, self.votes([scores[place] for place in voters]), strict=True):
            votes[place] = vote
        return torch.tensor(tallied(answers, votes, scores))

    def votes(self, scores: Sequence[float]) -> list[float]:
        """The votes of texts with these scores."""
        if self.power is not None:
            return borda(scores, self.power)
        wrong = next((score for score in scores if not (0 <= score < math.inf or score == -math.inf)), None)
        if wrong is not None:
            raise ValueError(
                f"{type(self.ranker).__name__} gave a weight of {wrong:g}, and votes are 0 or more: pass power=1.0, by which ranks "
                "vote"
            )
        votes = [max(score, 0.0) for score in scores]  # a text that is banned has none
        return votes if any(votes) else [1.0] * len(votes)


def borda(scores: Sequence[float], power: float) -> list[float]:
    """(N - r + 1)^power of each of N scores, r its rank, 1 the highest; equal scores have the mean of their ranks.

    Example:
        >>> borda([0.9, 0.5, 0.7, 0.1], 1.0), borda([2.0, 2.0], 1.0)
        ([4.0, 2.0, 3.0, 1.0], [1.5, 1.5])
    """
    return [
        (sum(other < score for other in scores) + (sum(other == score for other in scores) + 1) / 2) ** power for score in scores
    ]


def tallied(answers: Sequence[str | None], votes: Sequence[float], scores: Sequence[float]) -> list[float]:
    """The share of the votes of each text's answer; texts of equal shares are told apart by their scores, and by no more."""
    everything = math.fsum(votes)
    shares = {
        answer: math.fsum(vote for own, vote in zip(answers, votes, strict=True) if own == answer) / everything
        for answer in dict.fromkeys(answers)
        if answer is not None
    }
    ladder = sorted({0.0, *shares.values()})
    step = min(higher - lower for lower, higher in pairwise(ladder) if higher - lower > EQUAL)
    rungs = {score: rung for rung, score in enumerate(sorted({*scores}))}
    nudge = min(step / 2, MOST) / len(rungs)
    return [0.0 if answer is None else shares[answer] + nudge * rungs[score] for answer, score in zip(answers, scores, strict=True)]
