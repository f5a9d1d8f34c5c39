"""The candidate that agrees best with the others: minimum Bayes risk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import override

from counterpoint.rankers.base import CandidateScorer, Ranker, Texts
from counterpoint.rankers.bi_encoder import BiEncoderRanker
from counterpoint.rankers.overlap import bag, shared

Utility = Callable[[Texts], Float[Tensor, "hypotheses references"]]
"""Gives, for a prefix's candidates, what each (a row) is worth if another (a column) is the right one."""


def ngram_f1(texts: Texts, *, n: int = 1) -> Float[Tensor, "hypotheses references"]:
    """F1 of n-grams between all pairs of texts: 2 * |shared| / (|one| + |other|), 0 where neither has any.

    Args:
        texts: The texts.
        n: Words in an n-gram, at least 1.

    Example:
        >>> from counterpoint.rankers import ngram_f1
        >>> ngram_f1(["the old sea", "the sea", "a dog"])
        tensor([[1.0000, 0.8000, 0.0000],
                [0.8000, 1.0000, 0.0000],
                [0.0000, 0.0000, 1.0000]])
    """
    bags = [bag(text, n) for text in texts]
    rows = [[2 * shared(one, other) / max(one.total() + other.total(), 1) for other in bags] for one in bags]
    return torch.tensor(rows).reshape(len(bags), len(bags))


def embedding_cosine(encoder: BiEncoderRanker) -> Utility:
    """The cosine of embeddings as a utility: how alike a bi-encoder finds two continuations.

    Args:
        encoder: A ranker with embeddings, which reads the texts as continuations.

    Example:
        >>> from counterpoint.rankers import ConsensusRanker, SentenceTransformerRanker, embedding_cosine
        >>> encoder = SentenceTransformerRanker("all-MiniLM-L6-v2")  # doctest: +SKIP
        >>> ranker = ConsensusRanker(utility=embedding_cosine(encoder))  # doctest: +SKIP
    """

    def utility(texts: Texts) -> Float[Tensor, "hypotheses references"]:
        if not texts:
            return torch.zeros(0, 0)
        vectors = normalize(torch.stack(encoder.vectors(texts, "suffix")), dim=-1)
        return vectors @ vectors.T

    return utility


class ConsensusRanker(Ranker):
    """Scores a candidate by its mean similarity to the other candidates of its prefix: the least Bayes risk.

        s(x_i) = 1 / (N - 1) * sum_{j != i} u(x_i, x_j)

    Candidates that were sampled stand for the distribution they come from, and the sum is an estimate of the utility expected under
    it (Kumar and Byrne 2004; Eikema and Aziz 2020, arXiv 2005.10283, *Is MAP Decoding All You Need?*). A text that was sampled
    twice counts twice.

    Scores depend on the set of candidates, and on nothing of the prefix; they are not comparable across prefixes. A single
    candidate has nothing to agree with and scores 0.

    Args:
        utility: u for all pairs of a prefix's candidates, ``[hypotheses, references]``; :func:`ngram_f1` by default. For longer
            n-grams ``functools.partial(ngram_f1, n=2)``, for meaning :func:`embedding_cosine`.

    Raises:
        ValueError: From scoring, if ``utility`` gives another shape.

    Example:
        >>> from counterpoint.rankers import ConsensusRanker
        >>> ConsensusRanker().score(["They saw"], [[" the old sea", " the sea", " a dog"]])
        [tensor([0.4000, 0.4000, 0.0000])]
    """

    comparable = False

    def __init__(self, *, utility: Utility = ngram_f1) -> None:
        self.utility = utility

    @override
    def prepare(self, prefixes: Texts) -> CandidateScorer:
        return lambda candidates: [self.mean_of_others(texts) for texts in candidates]

    def mean_of_others(self, texts: Texts) -> Float[Tensor, " hypotheses"]:
        """Each candidate's mean utility; equal texts are compared once and counted as often as they occur."""
        count = Counter(texts)
        pairs = self.pairs(list(count))
        total = (pairs * torch.tensor(list(count.values()))).sum(dim=1) - pairs.diagonal()
        scores = dict(zip(count, (total / max(len(texts) - 1, 1)).tolist(), strict=True))
        return torch.tensor([scores[text] for text in texts])

    def pairs(self, texts: Texts) -> Float[Tensor, "hypotheses references"]:
        """The utility of each candidate for each."""
        found = self.utility(texts)
        if found.shape != (len(texts), len(texts)):
            raise ValueError(f"utility gave {tuple(found.shape)} for {len(texts)} texts; it compares all with all")
        return found.to("cpu", torch.float32)
