"""Rankers that read prefixes and continuations apart: a vector of each, and how alike the two are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from counterpoint.rankers.base import CandidateScorer, Ranker, Scores, Texts

Side = Literal["prefix", "suffix"]
"""What a text is read as; a bi-encoder may read the two differently."""


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

    def prepare(self, prefixes: Texts) -> CandidateScorer:
        """See :meth:`Ranker.prepare`."""
        read = self.vectors(prefixes, "prefix")

        def scores_of(candidates: Sequence[Texts]) -> Scores:
            distinct = [list(dict.fromkeys(texts)) for texts in candidates]  # equal texts get one score
            suffixes = iter(self.vectors([text for texts in distinct for text in texts], "suffix"))
            own = [[next(suffixes) for _ in texts] for texts in distinct]
            found = [
                self.similarity(prefix, torch.stack(vectors)).to("cpu", torch.float32) if vectors else torch.empty(0)
                for prefix, vectors in zip(read, own, strict=True)
            ]
            places = [dict(zip(texts, range(len(texts)), strict=True)) for texts in distinct]
            return [scores[[place[text] for text in texts]] for scores, place, texts in zip(found, places, candidates, strict=True)]

        return scores_of
