"""The beams of a ranked search: of every round's candidates the best, each once, as the leaves of a tree of texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from counterpoint.rankers.base import CandidateScorer
from counterpoint.rankers.search.proposals import Proposal


@dataclass(frozen=True)
class Candidate:
    """A continuation of one prompt, as it stood at the end of a round."""

    tokens: tuple[int, ...]
    """All tokens after the prompt, EOS included."""
    text: str
    """The text that was scored: the tokens as they follow the prompt's text."""
    ended: bool
    """Whether it is complete: by EOS, another stopping criterion or its length."""
    parent: int | None = None
    """Its place among the candidates of the round before; None in the first round."""
    score: float = -math.inf
    """The ranker's; -inf for a text that is empty or blank."""


class Beams:
    """Continuations of each prompt, at first an empty one, of which the ``most`` best are kept after every round.

    Args:
        scorer: Scores the texts.
        text: Gives the text of new tokens, from the prompt's index and the tokens.
        prompts: How many there are.
        most: How many beams each of them has.
    """

    def __init__(self, scorer: CandidateScorer, text: Callable[[int, Sequence[int]], str], prompts: int, most: int) -> None:
        self.scorer, self.text, self.most = scorer, text, most
        self.kept = [[Candidate((), "", False)] for _ in range(prompts)]
        self.rounds: list[list[list[Candidate]]] = [[] for _ in range(prompts)]
        """All candidates of every prompt and round, best first."""

    def live(self) -> list[tuple[int, int]]:
        """The kept beams that have not ended, by prompt and place: the rows to continue, in order."""
        return [(prompt, place) for prompt, pool in enumerate(self.kept) for place, each in enumerate(pool) if not each.ended]

    def grow(self, new: Proposal, draws: int) -> list[int]:
        """Choose among ``draws`` continuations of each live beam and the beams that have ended; which rows are live now."""
        live = self.live()
        pools: list[list[Candidate]] = [[] for _ in self.kept]
        for prompt in {prompt for prompt, _ in live}:
            pools[prompt] = [replace(each, parent=place) for place, each in enumerate(self.kept[prompt]) if each.ended]
        rows: dict[tuple[int, tuple[int, ...]], int] = {}
        for row, (tokens, ended) in enumerate(zip(new.tokens, new.ended, strict=True)):
            prompt, place = live[row // draws]
            whole = self.kept[prompt][place].tokens + tokens
            parent = place if self.rounds[prompt] else None
            pools[prompt].append(Candidate(whole, self.text(prompt, whole), ended, parent))
            rows.setdefault((prompt, whole), row)
        for prompt, pool in enumerate(best_first(self.scorer, pools)):
            if pool:
                self.rounds[prompt].append(pool)
                self.kept[prompt] = pool[: self.most]
        return [rows[prompt, self.kept[prompt][place].tokens] for prompt, place in self.live()]


def best_first(scorer: CandidateScorer, candidates: Sequence[Sequence[Candidate]]) -> list[list[Candidate]]:
    """Each prompt's candidates with their scores, the best first and, of those with the same tokens, only the first.

    The ranker sees no blank texts, and all others, since one that judges a set counts a text as often as it was sampled; of equals
    the earlier one comes first.

    Example:
        >>> import torch
        >>> longer = lambda candidates: [torch.tensor([float(len(text)) for text in texts]) for texts in candidates]
        >>> pool = [Candidate((5,), " a", False), Candidate((7,), " long", False), Candidate((5,), " a", False)]
        >>> [(each.text, each.score) for each in best_first(longer, [pool])[0]]
        [(' long', 5.0), (' a', 2.0)]
    """
    full = [[each for each in pool if each.text.strip()] for pool in candidates]
    scores = scorer([[each.text for each in pool] for pool in full])
    ranked = []
    for pool, read, own in zip(candidates, full, scores, strict=True):
        blank = [replace(each, score=-math.inf) for each in pool if not each.text.strip()]
        scored = [replace(each, score=score) for each, score in zip(read, own.tolist(), strict=True)]
        ranked.append(once_each(sorted(scored + blank, key=lambda each: -each.score)))
    return ranked


def once_each(pool: Sequence[Candidate]) -> list[Candidate]:
    """The first of those with the same tokens."""
    first: dict[tuple[int, ...], Candidate] = {}
    for each in pool:
        first.setdefault(each.tokens, each)
    return list(first.values())


def shared_beginning(texts: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all texts begin with.

    Example:
        >>> shared_beginning([(5, 6, 7), (5, 6), (5, 6, 9)])
        2
    """
    first, last = min(texts), max(texts)
    return next((place for place, token in enumerate(first) if token != last[place]), len(first))
