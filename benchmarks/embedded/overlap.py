"""Keep training text free of itself and of what is held out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

N = 13  # words in a row that are a copy, as GPT-3's authors took it (Brown et al., 2020, appendix C)
LONG = 60  # characters: shorter paragraphs ("Yes, sir.") repeat in honest prose


def words(text: str) -> list[str]:
    """Lower-case words without punctuation."""
    return re.findall(r"[a-z0-9]+", text.lower())


def ngrams(text: str, n: int = N) -> set[int]:
    """Hashes of all runs of ``n`` words."""
    found = words(text)
    return {hash(tuple(found[start : start + n])) for start in range(len(found) - n + 1)}


class Filter:
    """Drops paragraphs that came before or share ``N`` words in a row with a held-out text, and counts them."""

    def __init__(self, heldout: Iterable[str]) -> None:
        self.heldout: set[int] = set()
        for text in heldout:  # paragraph by paragraph, as the training texts are read
            for paragraph in text.split("\n"):
                self.heldout |= ngrams(paragraph)
        self.seen: set[bytes] = set()
        self.repeated = self.leaked = 0

    def keeps(self, paragraph: str) -> bool:
        """Whether a paragraph may be trained on; asking makes it one that came before."""
        if not self.heldout.isdisjoint(ngrams(paragraph)):
            self.leaked += 1
            return False
        key = hashlib.sha256(" ".join(words(paragraph)).encode()).digest()
        if len(paragraph) >= LONG and key in self.seen:
            self.repeated += 1
            return False
        self.seen.add(key)
        return True

    def clean(self, text: str) -> str:
        """A document without the paragraphs that are dropped."""
        return "\n".join(paragraph for paragraph in text.split("\n") if self.keeps(paragraph))
