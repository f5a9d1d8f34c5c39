"""The base of every ranker, which scores how well continuations follow a prefix."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from counterpoint.decoders.showing import Shown

Texts = Sequence[str]
Scores = list[Float[Tensor, " candidates"]]
"""The scores of every prefix's candidates, float32 on the CPU; higher is better."""

CandidateScorer = Callable[[Sequence[Texts]], Scores]
"""Gives the scores of every prefix's candidates; the prefixes were read when it was made."""


class Ranker(Shown, ABC):
    """Scores continuations of prefixes: s(prefix, continuation), higher is better.

    A subclass writes :meth:`prepare`. Everything a ranker can compute of the prefixes alone belongs there, before the function it
    returns, so that a search that scores longer and longer continuations reads them once:

        scorer = ranker.scorer(prefixes)
        scores = scorer(candidates)      # as often as wanted, for other candidates of the same prefixes
    """

    comparable: bool
    """Whether scores of continuations of different prefixes mean the same, so that one may choose among prefixes by them."""
    whole_texts: bool = False
    """Whether only whole texts can be judged, so that a search in rounds, which judges beginnings, refuses the ranker."""

    @abstractmethod
    def prepare(self, prefixes: Texts) -> CandidateScorer:
        """Read the prefixes; the function returned scores candidates of each, none of them empty.

        Candidates are continuations as they follow the prefix's text, with the space they begin with if they do. A prefix may have
        none. What is scored depends on a candidate and its prefix alone, unless the class says otherwise.
        """

    def scorer(self, prefixes: Texts) -> CandidateScorer:
        """Read the prefixes once, to score any number of batches of candidates.

        Args:
            prefixes: The texts that are continued.

        Returns:
            A function from each prefix's candidates to their scores: float32 ``[candidates]`` for every prefix, in order.

        Raises:
            TypeError: If ``prefixes`` is one string.
            ValueError: There or from the function: for an empty prefix or candidate, another number of prefixes, scores that are
                NaN.
        """
        check_texts("prefixes", prefixes)
        scores_of = self.prepare(prefixes)

        def checked(candidates: Sequence[Texts]) -> Scores:
            if len(candidates) != len(prefixes):
                raise ValueError(
                    f"candidates: {len(candidates)} lists for {len(prefixes)} prefixes; pass one list of texts for each prefix"
                )
            for index, texts in enumerate(candidates):
                check_texts(f"candidates[{index}]", texts)
            scores = [torch.as_tensor(own) for own in scores_of(candidates)]
            if len(scores) != len(prefixes):
                raise ValueError(f"{type(self).__name__} gave scores for {len(scores)} prefixes of {len(prefixes)}")
            for index, own in enumerate(scores):
                if own.shape != (len(candidates[index]),):
                    raise ValueError(
                        f"{type(self).__name__} gave scores of shape {list(own.shape)} for the {len(candidates[index])} texts of "
                        f"candidates[{index}]; prepare() has to return a function that gives each text one score"
                    )
                if own.isnan().any():
                    place = int(own.isnan().nonzero()[0])
                    raise ValueError(
                        f"{type(self).__name__} gave NaN for candidates[{index}][{place}]={candidates[index][place]!r}; its "
                        "model's weights or dtype are at fault (float16 overflows in T5: take float32 or bfloat16)"
                    )
            return scores

        return checked

    def score(self, prefixes: Texts, candidates: Sequence[Texts]) -> Scores:
        """s(prefix, candidate) for every prefix's candidates: :meth:`scorer`, used once.

        Args:
            prefixes: The texts that are continued.
            candidates: For each of them its continuations, any number.

        Returns:
            Float32 ``[candidates]`` for every prefix, in the order given; higher is better.

        Raises:
            TypeError: If ``prefixes`` or a prefix's candidates are one string.
            ValueError: As for :meth:`scorer`.
        """
        return self.scorer(prefixes)(candidates)


def check_texts(argument: str, texts: Texts) -> None:
    """Refuse one string where a list of them is meant, and empty texts.

    Raises:
        TypeError: If ``texts`` is one string.
        ValueError: If one of them is empty or blank.
    """
    if isinstance(texts, str):
        raise TypeError(f"{argument} is one string; pass a list of texts, [text] for a single one")
    for index, text in enumerate(texts):
        if not text.strip():
            raise ValueError(f"{argument}[{index}]={text!r} is empty: there is nothing to score; leave it out")


def split(scores: Float[Tensor, " all"], candidates: Sequence[Texts]) -> Scores:
    """Divide the scores of all candidates, which stand in one row, into one tensor for each prefix."""
    return list(scores.to("cpu", torch.float32).split([len(texts) for texts in candidates]))
