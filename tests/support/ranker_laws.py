"""The laws every ranker keeps, as checks that raise ``AssertionError`` where one is broken.

``test_rankers.py`` holds the library's rankers to them, and shows that each can fail.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch
from torch import nn

from counterpoint.rankers import Ranker, Scores

PREFIXES = [
    "The captain of the old whaling ship stood upon the deck, looking out over the grey sea towards the coast of the island, "
    "where the boats had gone in the morning; and the mate, who had seen many such voyages, waited for his word.",
    "My dear sister was not pleased with the letter. She read it twice by the window of the drawing-room, laid it down upon "
    "the table, took it up again, and at last declared that nothing in the world should make her answer such a man, for "
    "he had no more sense than his horse.",
    "It rained.",
]
CANDIDATES = [
    [" The boats came back.", " The captain said nothing.", " Nobody knew the letter.", " And so they sailed on for many days."],
    [" She wrote at once.", " The captain said nothing."],
    [" The boats came back.", " It rained again.", " Why?"],
]
LATER = [
    [text + " And the mate laughed." for text in CANDIDATES[0]],
    [" She wrote at once to her sister.", " No.", " The horse was pleased."],
    [" It rained again, and then it rained."],
]
CLOSE = dict(atol=2e-5, rtol=1e-5)


TokenCount = Callable[[Ranker], AbstractContextManager[list[int]]]
"""The sizes of what a ranker reads while the context lasts, in tokens or characters."""


@contextmanager
def tokens_through(model: nn.Module) -> Iterator[list[int]]:
    """The number of tokens of every forward of a model."""
    sizes: list[int] = []
    handle = model.register_forward_pre_hook(lambda *call: sizes.append(call[2]["input_ids"].numel()), with_kwargs=True)
    try:
        yield sizes
    finally:
        handle.remove()


def same(found: Scores, expected: Scores) -> None:
    """Scores are equal but for rounding."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


def scores_are_one_tensor_a_prefix(ranker: Ranker) -> None:
    """Float32 on the CPU, as many as there are candidates, and candidates differ in them."""
    scores = ranker.score(PREFIXES, CANDIDATES)
    assert [own.shape for own in scores] == [(len(texts),) for texts in CANDIDATES]
    assert {own.dtype for own in scores} == {torch.float32}
    assert {own.device.type for own in scores} == {"cpu"}
    assert len(set(scores[0].tolist())) > 1
    assert [own.shape for own in ranker.score(PREFIXES[:2], [[], [" No."]])] == [(0,), (1,)]
    assert ranker.score([], []) == []


def order_does_not_matter(ranker: Ranker) -> None:
    """Candidates or prefixes in another order have the same scores in that order."""
    scores = ranker.score(PREFIXES, CANDIDATES)
    same(ranker.score(PREFIXES, [texts[::-1] for texts in CANDIDATES]), [own.flip(0) for own in scores])
    same(ranker.score(PREFIXES[::-1], CANDIDATES[::-1]), scores[::-1])


def a_batch_is_its_parts(ranker: Ranker, of_a_set: bool) -> None:
    """A prefix has the scores that it has alone; a candidate too, unless scores are those of a set."""
    pairs = list(zip(PREFIXES, CANDIDATES, strict=True))
    scores = ranker.score(PREFIXES, CANDIDATES)
    same([ranker.score([prefix], [texts])[0] for prefix, texts in pairs], scores)
    if not of_a_set:
        same([torch.cat([ranker.score([prefix], [[text]])[0] for text in texts]) for prefix, texts in pairs], scores)


def judging_again_is_scoring_again(ranker: Ranker) -> None:
    """A scorer says of candidates what a new one would, whatever it has scored before, and other scorers meanwhile."""
    scorer, other = ranker.scorer(PREFIXES), ranker.scorer(PREFIXES[::-1])
    first, later = ranker.score(PREFIXES, CANDIDATES), ranker.score(PREFIXES, LATER)
    same(scorer(CANDIDATES), first)
    same(other(LATER[::-1]), later[::-1])
    same(scorer(LATER), later)
    same(other(CANDIDATES[::-1]), first[::-1])
    same(scorer(CANDIDATES), first)


def prefixes_are_read_once(ranker: Ranker, count_tokens: TokenCount) -> None:
    """A later round reads much less than the prefixes, which were read in the first."""
    few = [[" No."], [" Why?"]]
    scorer = ranker.scorer(PREFIXES[:2])
    scorer(CANDIDATES[:2])
    with count_tokens(ranker) as later:
        scorer(few)
    with count_tokens(ranker) as anew:
        ranker.score(PREFIXES[:2], few)
    assert 0 < sum(later) < sum(anew) / 4


def equal_texts_are_equal(ranker: Ranker) -> None:
    """Duplicates have the same score, to the last bit."""
    (scores,) = ranker.score(PREFIXES[:1], [[CANDIDATES[0][0], *CANDIDATES[0], CANDIDATES[0][0]]])
    assert scores[0] == scores[1] == scores[-1]


def nothing_given_is_changed(ranker: Ranker) -> None:
    """Prefixes and candidates stay as they were, lists or tuples."""
    prefixes, candidates = copy.deepcopy((PREFIXES, CANDIDATES))
    scores = ranker.score(prefixes, candidates)
    assert (prefixes, candidates) == (PREFIXES, CANDIDATES)
    same(ranker.score(tuple(prefixes), tuple(map(tuple, candidates))), scores)


def what_cannot_be_judged_is_refused(ranker: Ranker) -> None:
    """Strings for lists, empty texts and other numbers of lists are refused by name."""
    with pytest.raises(TypeError, match="prefixes is one string"):
        ranker.score("It rained.", [[" Why?"]])
    with pytest.raises(ValueError, match=r"prefixes\[1\]='' is empty"):
        ranker.scorer(["It rained.", ""])
    scorer = ranker.scorer(PREFIXES[:2])
    with pytest.raises(TypeError, match=r"candidates\[0\] is one string"):
        scorer([" Why?", [" Why?"]])
    with pytest.raises(ValueError, match=r"candidates\[1\]\[1\]='  ' is empty"):
        scorer([[" Why?"], [" Why?", "  "]])
    with pytest.raises(ValueError, match="candidates: 1 lists for 2 prefixes"):
        scorer([[" Why?"]])
