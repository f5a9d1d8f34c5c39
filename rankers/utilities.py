"""How alike two continuations are: utilities for minimum Bayes risk, over all pairs or against the mean of all references."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import override

from counterpoint.rankers.base import Texts
from counterpoint.rankers.bi_encoder import BiEncoderRanker
from counterpoint.rankers.ngrams import ngrams
from counterpoint.rankers.overlap import words

Utility = Callable[[Texts, Texts], Float[Tensor, "hypotheses references"]]
"""Gives what each hypothesis (a row) is worth if a reference (a column) is the right continuation."""
Bags = Sequence[Counter[Any]]
"""N-grams and how often each occurs, one bag for each order."""


class AggregateUtility(ABC):
    """A utility that can take the mean of all references for one: N candidates then cost N comparisons, and not N^2."""

    @abstractmethod
    def __call__(self, hypotheses: Texts, references: Texts) -> Float[Tensor, "hypotheses references"]:
        """The utility of each hypothesis for each reference."""

    @abstractmethod
    def against_mean(self, texts: Texts, counts: Sequence[int], *, itself: bool) -> Float[Tensor, " texts"]:
        """The utility of each of distinct texts for the mean of all, each as often as ``counts`` says.

        Args:
            texts: The texts.
            counts: How often each occurs.
            itself: Whether a text is among its own references; without it one occurrence of it is left out.
        """


class BagUtility(AggregateUtility):
    """A utility of the n-grams that two texts share; of several references the mean counts are taken (DeNero et al. 2009)."""

    @abstractmethod
    def bags(self, text: str) -> Bags:
        """The n-grams of a text by order."""

    @abstractmethod
    def of_counts(self, shared: Sequence[float], hypothesis: Sequence[float], reference: Sequence[float]) -> float:
        """The utility from how many n-grams of each order are shared, and how many either text has."""

    @override
    def __call__(self, hypotheses: Texts, references: Texts) -> Float[Tensor, "hypotheses references"]:
        read = {text: self.bags(text) for text in (*hypotheses, *references)}
        size = {text: [float(bag.total()) for bag in bags] for text, bags in read.items()}
        rows = [
            [self.of_counts(matches(read[one], read[other]), size[one], size[other]) for other in references] for one in hypotheses
        ]
        return torch.tensor(rows).reshape(len(hypotheses), len(references))

    @override
    def against_mean(self, texts: Texts, counts: Sequence[int], *, itself: bool) -> Float[Tensor, " texts"]:
        read = [self.bags(text) for text in texts]
        others = sum(counts) - (not itself)
        total: list[Counter[Any]] = [Counter() for _ in read[0]]
        for bags, count in zip(read, counts, strict=True):
            for bag, whole in zip(bags, total, strict=True):
                for gram, times in bag.items():
                    whole[gram] += times * count
        sizes = [bag.total() for bag in total]
        scores = []
        for bags in read:
            own = [float(bag.total()) for bag in bags]
            less = 0 if itself else 1
            shared = [
                math.fsum(min(times, (whole[gram] - less * times) / others) for gram, times in bag.items())
                for bag, whole in zip(bags, total, strict=True)
            ]
            mean = [(size - less * times) / others for size, times in zip(sizes, own, strict=True)]
            scores.append(self.of_counts(shared, own, mean))
        return torch.tensor(scores)


def matches(one: Bags, other: Bags) -> list[float]:
    """How many n-grams of each order are in both, each as often as in the one that has it less."""
    return [
        float(sum(min(times, there.get(gram, 0)) for gram, times in bag.items())) for bag, there in zip(one, other, strict=True)
    ]


class NgramF1(BagUtility):
    """F1 of n-grams of words: 2 * |shared| / (|one| + |other|), 0 where neither has any.

    Args:
        n: Words in an n-gram, at least 1.

    Example:
        >>> from counterpoint.rankers import NgramF1
        >>> NgramF1(n=1)(["the old sea"], ["the sea", "a dog"])
        tensor([[0.8000, 0.0000]])
    """

    def __init__(self, *, n: int = 1) -> None:
        if n < 1:
            raise ValueError(f"n={n!r}: an n-gram has at least 1 word")
        self.n = n

    def __repr__(self) -> str:
        return f"NgramF1(n={self.n})"

    @override
    def bags(self, text: str) -> Bags:
        return [Counter(ngrams(words(text), self.n))]

    @override
    def of_counts(self, shared: Sequence[float], hypothesis: Sequence[float], reference: Sequence[float]) -> float:
        return 2 * shared[0] / max(hypothesis[0] + reference[0], 1)


class ChrF(BagUtility):
    """chrF: the F-score of n-grams of characters without spaces, precision and recall averaged over orders, 0 to 1.

        F = (1 + beta^2) * P * R / (beta^2 * P + R)

    Popović, *chrF: character n-gram F-score for automatic MT evaluation* (2015, WMT). As sacrebleu computes it for a sentence,
    divided by 100: an order that either text is too short for is left out.

    Args:
        orders: The longest n-gram; 6 in sacrebleu.
        beta: How much more recall counts than precision; 2 in sacrebleu.

    Example:
        >>> from counterpoint.rankers import ChrF
        >>> ChrF()(["the old sea"], ["the old sea", "the cold sea"])
        tensor([[1.0000, 0.5583]])
    """

    def __init__(self, *, orders: int = 6, beta: float = 2.0) -> None:
        if orders < 1 or beta <= 0:
            raise ValueError(f"orders={orders}, beta={beta}: n-grams of 1 or more characters, and a beta above 0")
        self.orders, self.beta = orders, beta

    def __repr__(self) -> str:
        return f"ChrF(orders={self.orders}, beta={self.beta})"

    @override
    def bags(self, text: str) -> Bags:
        line = "".join(text.split())
        return [Counter(line[at : at + n] for at in range(len(line) - n + 1)) for n in range(1, self.orders + 1)]

    @override
    def of_counts(self, shared: Sequence[float], hypothesis: Sequence[float], reference: Sequence[float]) -> float:
        known = [each for each in zip(shared, hypothesis, reference, strict=True) if each[1] > 0 and each[2] > 0]
        precision = sum(both / one for both, one, _ in known) / max(len(known), 1)
        recall = sum(both / other for both, _, other in known) / max(len(known), 1)
        weight = self.beta**2
        return (1 + weight) * precision * recall / (weight * precision + recall) if precision + recall else 0.0


class Bleu(BagUtility):
    """BLEU of a sentence, 0 to 1, with the tokens and the smoothing of sacrebleu (13a, exp, effective order), divided by 100.

        BLEU = min(1, e^(1 - r/h)) * exp(mean_m ln p_m),    p_m = shared m-grams / m-grams of the hypothesis, 2^-k / them for 0

    Papineni et al., *BLEU* (2002); Post, *A Call for Clarity in Reporting BLEU Scores* (2018, arXiv 1804.08771). Not symmetric.

    Args:
        orders: The longest n-gram; 4.

    Raises:
        ImportError: Without sacrebleu, ``pip install "counterpoint[generation]"``.

    Example:
        >>> from counterpoint.rankers import Bleu
        >>> Bleu()(["the old sea was calm"], ["the old sea was calm", "the old sea was cold"])
        tensor([[1.0000, 0.6687]])
    """

    def __init__(self, *, orders: int = 4) -> None:
        try:
            from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
        except ImportError as error:
            raise ImportError("BLEU needs an extra: pip install counterpoint[generation]") from error
        if orders < 1:
            raise ValueError(f"orders={orders}: n-grams of 1 or more words")
        self.orders, self.tokenize = orders, Tokenizer13a()  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        return f"Bleu(orders={self.orders})"

    @override
    def bags(self, text: str) -> Bags:
        tokens = self.tokenize(text.strip()).split()
        return [Counter(ngrams(tokens, n)) for n in range(1, self.orders + 1)]

    @override
    def of_counts(self, shared: Sequence[float], hypothesis: Sequence[float], reference: Sequence[float]) -> float:
        if not any(shared) or not hypothesis[0]:
            return 0.0
        logarithms, halved = [], 1
        for both, one in zip(shared, hypothesis, strict=True):
            if not one:
                break
            halved *= 1 if both else 2
            logarithms.append(math.log((both or 1 / halved) / one))
        brevity = min(0.0, 1 - reference[0] / hypothesis[0])
        return math.exp(brevity + sum(logarithms) / len(logarithms))


class EmbeddingCosine(AggregateUtility):
    """The cosine of embeddings: how alike a bi-encoder finds two continuations. Against the mean it is exact, since it is linear.

    Args:
        encoder: A ranker with embeddings, which reads the texts as continuations.

    Example:
        >>> from counterpoint.rankers import ConsensusRanker, EmbeddingCosine, SentenceTransformerRanker
        >>> encoder = SentenceTransformerRanker("all-MiniLM-L6-v2")  # doctest: +SKIP
        >>> ranker = ConsensusRanker(utility=EmbeddingCosine(encoder), aggregate=True)  # doctest: +SKIP
    """

    def __init__(self, encoder: BiEncoderRanker) -> None:
        self.encoder = encoder

    def __repr__(self) -> str:
        return f"EmbeddingCosine({type(self.encoder).__name__})"

    def vectors(self, texts: Texts) -> Float[Tensor, "texts width"]:
        """Unit vectors."""
        return normalize(torch.stack(self.encoder.vectors(texts, "suffix")), dim=-1).to("cpu")

    @override
    def __call__(self, hypotheses: Texts, references: Texts) -> Float[Tensor, "hypotheses references"]:
        if not hypotheses or not references:
            return torch.zeros(len(hypotheses), len(references))
        return self.vectors(hypotheses) @ self.vectors(references).T

    @override
    def against_mean(self, texts: Texts, counts: Sequence[int], *, itself: bool) -> Float[Tensor, " texts"]:
        vectors = self.vectors(texts)
        total = vectors @ (vectors * torch.tensor(counts)[:, None]).sum(dim=0)
        return total / sum(counts) if itself else (total - 1) / (sum(counts) - 1)
