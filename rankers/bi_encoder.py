"""Rankers that read prefixes and continuations apart: a vector of each, and how alike the two are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from counterpoint.rankers.base import CandidateScorer, Ranker, Scores, Texts

Side = Literal["prefix", "suffix"]
"""Whether a text is read as a prefix or as a continuation; a bi-encoder may read the two differently."""


class BiEncoderRanker(Ranker):
    """s(prefix, continuation) = sim(e_prefix(prefix), e_suffix(continuation)).

    A subclass writes :meth:`embed`, and :meth:`similarity` if it is not the dot product. A vector depends on its text alone, so
    prefixes are read once for all rounds of a search, and equal texts once a round.
    """

    comparable = True

    @abstractmethod
    def embed(self, texts: Texts, side: Side) -> Float[Tensor, "texts width"]:
        """Vectors of one or more texts, all different, in order."""

    def similarity(self, prefix: Float[Tensor, " width"], suffixes: Float[Tensor, "suffixes width"]) -> Float[Tensor, " suffixes"]:
        """How well each suffix follows the prefix: the dot product."""
        return (suffixes * prefix).sum(dim=-1)

    def vectors(self, texts: Texts, side: Side) -> list[Float[Tensor, " width"]]:
        """The float32 vector of each text, in order; equal texts are embedded once."""
        distinct = list(dict.fromkeys(texts))
        found = dict(zip(distinct, self.embed(distinct, side).float(), strict=True)) if distinct else {}
        return [found[text] for text in texts]

    @override
    def prepare(self, prefixes: Texts) -> CandidateScorer:
        read = self.vectors(prefixes, "prefix")

        def scores_of(candidates: Sequence[Texts]) -> Scores:
            distinct = list(dict.fromkeys(text for texts in candidates for text in texts))
            vectors = dict(zip(distinct, self.vectors(distinct, "suffix"), strict=True))
            return [self.scores(prefix, texts, vectors) for prefix, texts in zip(read, candidates, strict=True)]

        return scores_of

    def scores(
        self, prefix: Float[Tensor, " width"], texts: Texts, vectors: Mapping[str, Float[Tensor, " width"]]
    ) -> Float[Tensor, " candidates"]:
        """The scores of a prefix's candidates; equal ones are compared once, so that they have one score."""
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return torch.empty(0)
        found = self.similarity(prefix, torch.stack([vectors[text] for text in distinct])).to("cpu", torch.float32)
        place = {text: index for index, text in enumerate(distinct)}
        return found[[place[text] for text in texts]]
