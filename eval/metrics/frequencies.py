"""How the words of texts are distributed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from statistics import linear_regression

from counterpoint.eval.metrics.texts import as_list
from counterpoint.rankers.ngrams import words


def zipf(texts: Iterable[str], *, ranks: int = 5000) -> float:
    """Zipf's coefficient: how fast the frequency of words falls with their rank.

        s = -slope of the least-squares line through (ln r, ln f_r), r = 1 .. ranks

    with f_r the count of the r-th most frequent word. Holtzman et al., *The Curious Case of Neural Text Degeneration* (2020, arXiv
    1904.09751), section 5.3: human text has about 1; a larger value means that the frequent words take more of the text than they
    should, a smaller one a flatter distribution. Words are what whitespace separates. The coefficient depends on the amount of text
    (most words of a small one occur once, which flattens the line), so compare sets of the same size.

    Args:
        texts: The generated texts, without their prompts.
        ranks: How many of the most frequent words count, 5000 in the paper's released code; fewer if there are fewer.

    Returns:
        The coefficient, 0 if all words are equally frequent.

    Raises:
        TypeError: If ``texts`` is one string.
        ValueError: If ``ranks`` is below 2, or if there are not two different words.

    Example:
        >>> from counterpoint.eval import zipf
        >>> round(zipf(["the " * 12 + "of " * 6 + "and " * 4 + "to " * 3]), 12)  # 12 / r
        1.0
    """
    if ranks < 2:
        raise ValueError(f"ranks={ranks!r}: a slope needs at least 2 words")
    counts = Counter(word for text in as_list(texts) for word in words(text))
    frequencies = [count for _, count in counts.most_common(ranks)]
    if len(frequencies) < 2:
        raise ValueError(f"texts: {len(frequencies)} different words, and a slope needs at least 2")
    over_ranks = [math.log(rank) for rank in range(1, len(frequencies) + 1)]
    return 0.0 - linear_regression(over_ranks, [math.log(count) for count in frequencies]).slope
