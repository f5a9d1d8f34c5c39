"""How long texts are, and whether they ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from counterpoint.eval.metrics.texts import as_list
from counterpoint.rankers.ngrams import words


def lengths(texts: Iterable[str], *, tokenizer: Any = None, published: bool = False) -> list[int]:
    """The number of words of each text, or of tokens.

    Args:
        texts: The generated texts, without their prompts.
        tokenizer: Counts its tokens, special ones left out; None counts words, which are those of :func:`~counterpoint.eval.rep_n`.
        published: Count as released code does: words are what white space separates in any script.

    Returns:
        A number for each text, 0 for an empty one.

    Raises:
        TypeError: If ``texts`` is one string.

    Example:
        >>> from counterpoint.eval import lengths
        >>> lengths(["a rose is a rose", ""])
        [5, 0]
    """
    if tokenizer is None:
        return [len(text.split() if published else words(text)) for text in as_list(texts)]
    return [len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) for text in as_list(texts)]


def mean_length(texts: Iterable[str], *, tokenizer: Any = None, published: bool = False) -> float:
    """The mean of :func:`lengths`; empty texts count, as in the figures of Su and Collier (2023, arXiv 2210.14140).

    Raises:
        TypeError: If ``texts`` is one string.
        ValueError: If there is no text.

    Example:
        >>> from counterpoint.eval import mean_length
        >>> mean_length(["a rose is a rose", ""])
        2.5
    """
    found = lengths(texts, tokenizer=tokenizer, published=published)
    if not found:
        raise ValueError("texts is empty: there is no length to average")
    return fmean(found)


def loop_share(texts: Iterable[str], *, longest: int = 90) -> float:
    """The share of texts that end in a phrase said over and over: :func:`ends_in_loop`.

    The *repetition* of Holtzman et al., *The Curious Case of Neural Text Degeneration* (2020, arXiv 1904.09751).

    Args:
        texts: The generated texts, without their prompts.
        longest: Words of the longest phrase that is looked for, 90 in the paper's released code.

    Returns:
        A fraction.

    Raises:
        TypeError: If ``texts`` is one string.
        ValueError: If there is no text.

    Example:
        >>> from counterpoint.eval import loop_share
        >>> loop_share(["so it goes and it goes and it goes and", "so it goes"])
        0.5
    """
    found = [ends_in_loop(words(text), longest) for text in as_list(texts)]
    if not found:
        raise ValueError("texts is empty: there is no share of them")
    return fmean(found)


def ends_in_loop(said: Sequence[str], longest: int = 90) -> bool:
    """Whether a text ends in a phrase that is repeated: at least 2 times if it has 3 words or more, else over 50 times.

    Of all phrases that a text may end in, the one that is said most often counts, the shorter of two; that is the rule of Holtzman
    et al.'s released code, so that a word or two said up to 50 times do not count as a loop yet.

    Example:
        >>> from counterpoint.eval.metrics.length import ends_in_loop
        >>> ends_in_loop("we shall fight we shall fight".split()), ends_in_loop("no no no".split()), ends_in_loop(["no"] * 51)
        (True, False, True)
    """
    phrases = range(1, min(longest, len(said)) + 1)
    times, shortness = max(((times_at_end(said, length), -length) for length in phrases), default=(0, 0))
    return times > 50 or (times > 1 and shortness <= -3)


def times_at_end(words: Sequence[str], length: int) -> int:
    """How often in a row the text's last ``length`` words stand at its end."""
    last, times, at = words[len(words) - length :], 1, len(words) - 2 * length
    while at >= 0 and words[at : at + length] == last:
        times, at = times + 1, at - length
    return times
