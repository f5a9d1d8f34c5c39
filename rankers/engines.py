"""What rankers and commands ask of whatever runs a language model: this process, vLLM, or a server somewhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from counterpoint.decoders.choosing.rows import DecoderRow
from counterpoint.decoders.choosing.specs import Spec
from counterpoint.decoders.forwards.chats import Chat

Beginning = str | Chat | tuple[int, ...]
"""What is continued: a text, a chat or tokens."""


@dataclass(frozen=True)
class Written:
    """A continuation that an engine wrote."""

    text: str
    tokens: int
    """How many there are, the end of text included."""
    finished: bool
    """Whether it came to its end, rather than to the most tokens it may have."""
    ids: tuple[int, ...] | None = None
    """The tokens; None where the engine does not tell them."""
    log_probabilities: tuple[float, ...] | None = None
    """The model's own of each token, before temperature and restriction; None unless they were asked for."""


@runtime_checkable
class Engine(Protocol):
    """A language model, wherever it runs."""

    @property
    def name(self) -> str:
        """The model's name."""

    def write(
        self,
        prompts: Sequence[Beginning],
        decoder: Spec[DecoderRow],
        *,
        max_new_tokens: int,
        n: int = 1,
        seeds: Sequence[int] = (),
        stop: Sequence[str] = (),
        log_probabilities: bool = False,
    ) -> list[list[Written]]:
        """Continue each prompt ``n`` times.

        Args:
            prompts: What is continued; each by itself, so that no text depends on its neighbours.
            decoder: How tokens are chosen, a row of the table with its values.
            max_new_tokens: The most tokens of a continuation.
            n: How many candidates of each prompt.
            seeds: For each prompt the seed of its random numbers; none where nothing is drawn.
            stop: Texts at the first of which a continuation ends.
            log_probabilities: Whether those of the tokens are wanted.

        Returns:
            For each prompt its ``n`` continuations.

        Raises:
            ValueError: Naming what the engine cannot do, and the way out.
            OSError: If the engine cannot be reached.
        """

    def log_probabilities(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Ln p of every token of given continuations after their prefixes.

        Args:
            texts: Pairs of a prefix's and a continuation's tokens, neither of them empty.

        Returns:
            For each pair one number for every token of its continuation.

        Raises:
            ValueError: If the engine does not tell them, with the way out.
            OSError: If the engine cannot be reached.
        """
