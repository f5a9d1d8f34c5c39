"""How alike two continuations are: utilities for minimum Bayes risk, over all pairs or against the mean of all references."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
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
REFERENCES = 256
"""References that are compared with at once, since each takes a number for each n-gram."""


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
    def of_counts(
        self,
        shared: Float[Tensor, "orders *pairs"],
        hypothesis: Float[Tensor, "orders *#pairs"],
        reference: Float[Tensor, "orders *#pairs"],
    ) -> Float[Tensor, "*pairs"]:
        """The utility from how many n-grams of each order are shared, and how many either text has."""

    @override
    def __call__(self, hypotheses: Texts, references: Texts) -> Float[Tensor, "hypotheses references"]:
        if not hypotheses or not references:
            return torch.zeros(len(hypotheses), len(references))
        read = {text: self.bags(text) for text in (*hypotheses, *references)}
        ones, others = ([read[text] for text in texts] for texts in (hypotheses, references))
        shared = torch.stack([shared_counts(*each) for each in zip(by_order(ones), by_order(others), strict=True)])
        return self.of_counts(shared, totals(ones)[:, :, None], totals(others)[:, None, :]).float()

    @override
    def against_mean(self, texts: Texts, counts: Sequence[int], *, itself: bool) -> Float[Tensor, " texts"]:
        read = [self.bags(text) for text in texts]
        others = sum(counts) - (not itself)
        total: list[Counter[Any]] = [Counter() for _ in read[0]]
        for bags, count in zip(read, counts, strict=True):
            for bag, whole in zip(bags, total, strict=True):
                for gram, times in bag.items():
                    whole[gram] += times * count
        less = 0 if itself else 1
        shared = [
            [
                math.fsum(min(times, (whole[gram] - less * times) / others) for gram, times in bag.items())
                for bag, whole in zip(bags, total, strict=True)
            ]
            for bags in read
        ]
        own = totals(read)
        mean = (totals([total]) - less * own) / others
        return self.of_counts(torch.tensor(shared, dtype=torch.float64).T, own, mean).float()


def by_order(texts: Sequence[Bags]) -> list[tuple[Counter[Any], ...]]:
    """The bags of all texts, order by order."""
    return list(zip(*texts, strict=True))


def totals(texts: Sequence[Bags]) -> Float[Tensor, "orders texts"]:
    """How many n-grams of each order each text has."""
    return torch.tensor([[bag.total() for bag in bags] for bags in texts], dtype=torch.float64).T


def shared_counts(ones: Sequence[Counter[Any]], others: Sequence[Counter[Any]]) -> Float[Tensor, "ones others"]:
    """How many n-grams are in both bags of each pair, each as often as in the bag that has it less.

        sum_g min(a_g, b_g) = sum_t |{g: a_g >= t and b_g >= t}|,   a product of matrices of zeros and ones for each t

    Counts t that no bag has are skipped, and the next one stands for them.

    Example:
        >>> from collections import Counter
        >>> shared_counts([Counter("aab")], [Counter("aac"), Counter("ab")])
        tensor([[2., 2.]], dtype=torch.float64)
    """
    number = {gram: index for index, gram in enumerate({gram for bag in ones for gram in bag})}
    text, gram, count = places(ones, number)
    blocks = []
    for start in range(0, len(others), REFERENCES):
        block = others[start : start + REFERENCES]
        other_text, other_gram, other_count = places(block, number)
        shared, before = torch.zeros(len(ones), len(block), dtype=torch.float64), 0
        for times in sorted({*count.tolist(), *other_count.tolist()}):
            here, there = count >= times, other_count >= times
            one = torch.sparse_coo_tensor(
                torch.stack([text[here], gram[here]]), torch.ones(int(here.sum())), (len(ones), len(number)), check_invariants=True
            )
            other = torch.zeros(len(number), len(block))
            other[other_gram[there], other_text[there]] = 1.0
            shared += (times - before) * torch.sparse.mm(one, other)
            before = times
        blocks.append(shared)
    return torch.cat(blocks, dim=1)


def places(bags: Sequence[Counter[Any]], number: Mapping[Any, int]) -> Int[Tensor, "3 found"]:
    """The index of the bag, the number of the n-gram and how often it occurs there, for all n-grams that have a number."""
    found = [(index, number[gram], times) for index, bag in enumerate(bags) for gram, times in bag.items() if gram in number]
    return torch.tensor(found, dtype=torch.long).reshape(-1, 3).T


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
    def of_counts(self, shared: Tensor, hypothesis: Tensor, reference: Tensor) -> Tensor:
        return 2 * shared[0] / (hypothesis[0] + reference[0]).clamp(min=1)


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
    def of_counts(self, shared: Tensor, hypothesis: Tensor, reference: Tensor) -> Tensor:
        known = (hypothesis > 0) & (reference > 0)
        orders = known.sum(dim=0).clamp(min=1)
        precision = torch.where(known, shared / hypothesis, 0.0).sum(dim=0) / orders
        recall = torch.where(known, shared / reference, 0.0).sum(dim=0) / orders
        weight = self.beta**2
        found = (1 + weight) * precision * recall / (weight * precision + recall)
        return torch.where(precision + recall > 0, found, 0.0)


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
    def of_counts(self, shared: Tensor, hypothesis: Tensor, reference: Tensor) -> Tensor:
        known = (hypothesis > 0).expand_as(shared)
        halved = 0.5 ** (known & (shared == 0)).cumsum(dim=0)
        logarithms = torch.where(known, (torch.where(shared > 0, shared, halved) / hypothesis).log(), 0.0)
        brevity = (1 - reference[0] / hypothesis[0]).clamp(max=0)
        found = (brevity + logarithms.sum(dim=0) / known.sum(dim=0)).exp()
        return torch.where((shared > 0).any(dim=0), found, 0.0)


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
