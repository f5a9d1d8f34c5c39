"""How much of a continuation its prefix has said already: the lexical baseline."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence

import torch
from typing_extensions import override

from counterpoint.rankers.base import CandidateScorer, Ranker, Scores, Texts
from counterpoint.rankers.ngrams import ngrams

Bag = Counter[tuple[str, ...]]
"""N-grams, and how often each occurs."""

STOPWORDS = frozenset(
    """
    a about above after again against all also although always am among an and another any are around as at away be became because
    become been before began being below between both but by came can cannot could did do does doing done down during each either
    else ere even ever every few for from further had has have having he hence her here hers herself him himself his how however i
    if in indeed into is it its itself just least less let like made make many may me might mine more most much must my myself nay
    neither never no none nor not nothing now o'er of off oft often on once one only or other others ought our ours ourselves out
    over own perhaps quite rather same shall shalt she should since so some something still such than that the thee their theirs
    them themselves then there therefore these they thine this those thou though through thus thy till to too toward towards under
    unless until unto up upon us very was we well were what whatever when where whether which while who whole whom whose why will
    with within without would yes yet you your yours yourself yourselves
    can't couldn't didn't doesn't don't hadn't hasn't haven't he'd he'll he's i'd i'll i'm i've isn't it's let's shan't she'd
    she'll she's shouldn't that's there's they'd they'll they're they've tis wasn't we'd we'll we're we've weren't what's who's
    won't wouldn't you'd you'll you're you've
    """.split()
)
"""English words of grammar rather than content."""


class OverlapRanker(Ranker):
    """Scores a continuation by the share of its n-grams that its prefix has too: their precision, from 0 to 1.

        sum_g min(count of g in x, count of g in the prefix) / sum_g count of g in x

    With unigrams and without stopwords this is "unigram overlap" of RankGen (Krishna et al. 2022, arXiv 2205.09726, table 3),
    whose reranking is better than nucleus sampling and worse than their model. Their code leaves out NLTK's English stopwords; for
    that list pass ``stopwords=nltk.corpus.stopwords.words("english")``.

    Words are runs of letters and digits in lower case, apostrophes within them included. A continuation of stopwords only, or one
    shorter than n words, scores 0. A share means the same after any prefix, so scores are comparable, though a longer prefix has
    said more.

    Args:
        n: Words in an n-gram.
        stopwords: Words that count nowhere, left out before n-grams are formed; in lower case.

    Raises:
        ValueError: If ``n`` is below 1.

    Example:
        >>> from counterpoint.rankers import OverlapRanker
        >>> OverlapRanker().score(["The white whale of the sea."], [[" A whale, a whale!", " They sat down to tea."]])
        [tensor([0.5000, 0.0000])]
    """

    comparable = True

    def __init__(self, *, n: int = 1, stopwords: Collection[str] = STOPWORDS) -> None:
        if n < 1:
            raise ValueError(f"n={n!r}: an n-gram has at least 1 word")
        self.n, self.stopwords = n, frozenset(stopwords)

    @override
    def prepare(self, prefixes: Texts) -> CandidateScorer:
        said = [bag(prefix, self.n, self.stopwords) for prefix in prefixes]

        def scores_of(candidates: Sequence[Texts]) -> Scores:
            return [
                torch.tensor([precision(bag(text, self.n, self.stopwords), own) for text in texts])
                for own, texts in zip(said, candidates, strict=True)
            ]

        return scores_of


def words(text: str) -> list[str]:
    """Runs of letters and digits in lower case, apostrophes within them included.

    Example:
        >>> words("'Tis the captain's ship, Mr. Bell.")
        ['tis', 'the', "captain's", 'ship', 'mr', 'bell']
    """
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("\u2019", "'"))


def bag(text: str, n: int = 1, stopwords: Collection[str] = ()) -> Bag:
    """The n-grams of a text's words, from which stopwords are left out first."""
    return Counter(ngrams([word for word in words(text) if word not in stopwords], n))


def shared(one: Bag, other: Bag) -> int:
    """The number of n-grams in both, each counted as often as in the one that has it less."""
    return (one & other).total()


def precision(candidate: Bag, reference: Bag) -> float:
    """The share of a candidate's n-grams that are in the reference; 0 if it has none."""
    return shared(candidate, reference) / max(candidate.total(), 1)
