"""How alike texts are: each one's BLEU against all others."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean

from counterpoint.eval.metrics.texts import as_list
from counterpoint.rankers.ngrams import ngrams, words

EPSILON = 0.1
"""What a precision without a match has for matches: NLTK's ``SmoothingFunction().method1``, which the papers use."""


def self_bleu(texts: Iterable[str], n: int = 4, *, samples: int | None = 1000, seed: int = 0) -> float:
    """The mean over texts of each text's BLEU with all others as references.

        self-BLEU-n = mean_i BP_i * exp( 1/n * sum_{m=1..n} ln p_im )
        p_im = sum_g min(c_i(g), max_{j != i} c_j(g)) / sum_g c_i(g)    over m-grams g, 0.1 in place of 0 matches
        BP_i = min(1, exp(1 - r_i / l_i)),    l_i words, r_i the length of the other text that is the closest in length

    Zhu et al., *Texygen* (2018, arXiv 1802.01886), with the smoothing of Holtzman et al., *The Curious Case of Neural Text
    Degeneration* (2020, arXiv 1904.09751). Low is diverse. It sees what texts share with each other, not repetition within one, and
    it grows with the number of texts, since each finds more to match: compare sets of the same size. Holtzman et al. compare 1,000
    of 5,000 texts with all others, whose expectation ``samples=None`` gives.

    Counts of an n-gram are looked up, not compared text by text: the time is linear in the amount of text.

    Args:
        texts: The generated texts, without their prompts; words are what whitespace separates.
        n: The longest n-grams; 4 and 5 are usual.
        samples: With more texts than this, so many of them are drawn and compared with each other. None compares all.
        seed: Seed by which they are drawn.

    Returns:
        A fraction: 1 if every text is found in another.

    Raises:
        TypeError: If ``texts`` is one string.
        ValueError: If ``n`` is below 1, or if there are not two texts.

    Example:
        >>> from counterpoint.eval import self_bleu
        >>> self_bleu(["the cat sat on the mat", "the cat sat on the mat"])
        1.0
        >>> round(self_bleu(["the cat sat on the mat", "a dog lay in its bed"], n=2), 3)
        0.0
    """
    found = as_list(texts)
    if samples is not None and len(found) > samples:
        found = random.Random(seed).sample(found, samples)  # noqa: S311 - no secret
    return fmean(self_bleu_of_each(found, n))


def self_bleu_of_each(texts: Iterable[str], n: int = 4) -> list[float]:
    """The BLEU of each text with all others as references, of which :func:`self_bleu` is the mean.

    Args:
        texts: As for :func:`self_bleu`; all are compared.
        n: As for :func:`self_bleu`.

    Returns:
        A fraction for each text; 0 if it has no word in common with the others.

    Raises:
        TypeError: If ``texts`` is one string.
        ValueError: If ``n`` is below 1, or if there are not two texts.

    Example:
        >>> from counterpoint.eval import self_bleu_of_each
        >>> self_bleu_of_each(["the cat sat", "the cat sat", "no word shared"], n=3)
        [1.0, 1.0, 0.0]
    """
    if n < 1:
        raise ValueError(f"n={n!r}: an n-gram has at least 1 word")
    split = [words(text) for text in as_list(texts)]
    if len(split) < 2:
        raise ValueError(f"texts: {len(split)} of them, and self-BLEU compares at least 2")
    matches = [matches_with_others([Counter(ngrams(each, m)) for each in split]) for m in range(1, n + 1)]
    lengths = sorted(map(len, split))
    return [
        bleu([found[i] for found in matches], len(each), closest_other(lengths, len(each))) if each else 0.0
        for i, each in enumerate(split)
    ]


def matches_with_others(counts: Sequence[Counter[tuple[str, ...]]]) -> list[int]:
    """For each text sum_g min(c_i(g), max_{j != i} c_j(g)), from the two largest counts of each n-gram."""
    largest: dict[tuple[str, ...], tuple[int, int]] = {}
    for each in counts:
        for gram, count in each.items():
            first, second = largest.get(gram, (0, 0))
            largest[gram] = (count, first) if count > first else (first, max(second, count))

    def among_others(gram: tuple[str, ...], count: int) -> int:
        first, second = largest[gram]
        return second if count == first else first  # a text that shares the first place is matched by its equal

    return [sum(min(count, among_others(gram, count)) for gram, count in each.items()) for each in counts]


def closest_other(lengths: Sequence[int], length: int) -> int:
    """The value of a sorted list that is closest to ``length``, one occurrence of which is left out; of two the smaller."""
    at = bisect_left(lengths, length)
    others = [*lengths[max(at - 1, 0) : at], *lengths[at + 1 : at + 2]]
    return min(others, key=lambda other: (abs(other - length), other))


def bleu(matches: Sequence[int], length: int, reference_length: int) -> float:
    """BLEU from the matches of 1-grams to n-grams and the lengths of a text and its reference."""
    if not matches[0]:
        return 0.0
    precisions = [(found or EPSILON) / max(1, length - m) for m, found in enumerate(matches)]
    penalty = min(1.0, math.exp(1 - reference_length / length))
    return penalty * math.exp(fmean(map(math.log, precisions)))
