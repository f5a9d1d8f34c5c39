"""How many different n-grams a set of texts has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from counterpoint.eval.metrics.texts import as_list, check_long_enough
from counterpoint.rankers.ngrams import ngrams, words


def distinct_n(texts: Iterable[str], n: int) -> float:
    """The share of n-grams that are different, over all texts together.

        distinct-n = |distinct n-grams of all texts| / sum_i |n-grams of text i|

    Li et al., *A Diversity-Promoting Objective Function for Neural Conversation Models* (2016, arXiv 1510.03055), and the
    evaluations of Pillutla et al., *MAUVE* (2021, arXiv 2102.01454). N-grams are runs of n words, words are those of
    :func:`~counterpoint.eval.rep_n`, and unlike that it also sees what different texts have in common. It falls as there is more
    text, by any writer, so compare sets of as many texts of the same length.

    Args:
        texts: The generated texts, without their prompts. Texts of fewer than n words have no n-gram and are left out.
        n: Words in an n-gram, at least 1.

    Returns:
        A fraction above 0: 1 where no n-gram occurs twice.

    Raises:
        TypeError: If ``texts`` is one string.
        ValueError: If ``n`` is below 1, or if no text is long enough to hold an n-gram.

    Warns:
        UserWarning: If texts are left out.

    Example:
        >>> from counterpoint.eval import distinct_n
        >>> distinct_n(["a rose is a rose", "a rose by name"], n=2)  # 7 bigrams, "a rose" three times
        0.7142857142857143
    """
    counts = counted_ngrams(texts, n)
    return len(counts) / counts.total()


def hapax_n(texts: Iterable[str], n: int) -> float:
    """The share of n-grams that occur once in all texts together, the *distinct-n* of Holtzman et al.'s released code.

        hapax-n = |{g : count(g) = 1}| / sum_g count(g)

    Holtzman et al., *The Curious Case of Neural Text Degeneration* (2020, arXiv 1904.09751). A lower number than
    :func:`distinct_n`, which counts an n-gram that occurs more often once and not at all here.

    Args:
        texts: As for :func:`distinct_n`.
        n: As for :func:`distinct_n`.

    Returns:
        A fraction: 1 where no n-gram occurs twice, 0 where all do.

    Raises:
        TypeError: If ``texts`` is one string.
        ValueError: If ``n`` is below 1, or if no text is long enough to hold an n-gram.

    Example:
        >>> from counterpoint.eval import hapax_n
        >>> hapax_n(["a rose is a rose", "a rose by name"], n=2)  # all but "a rose"
        0.5714285714285714
    """
    counts = counted_ngrams(texts, n)
    return sum(count == 1 for count in counts.values()) / counts.total()


def counted_ngrams(texts: Iterable[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each n-gram occurs in all texts, at least one of them."""
    if n < 1:
        raise ValueError(f"n={n!r}: an n-gram has at least 1 word")
    grams = [ngrams(words(text), n) for text in as_list(texts)]
    check_long_enough([len(each) for each in grams], n)
    return Counter(gram for each in grams for gram in each)
