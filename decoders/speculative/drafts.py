"""Guesses of how a text goes on, for speculative decoding to verify.

Nothing here decides what is generated: a guess may come from anywhere, and a good one saves forwards. There are two sources: what
followed the last few tokens when they stood in the text before (prompt lookup), and the amateur.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from counterpoint.decoders.amateurs.vocabulary import aligned
from counterpoint.decoders.checks import check_amateur
from counterpoint.decoders.contrasts.forms import plausible
from counterpoint.decoders.forwards.readable import check_known
from counterpoint.decoders.forwards.rewindable_model import RewindableModel

LONGEST = 3
"""Tokens of context that a repetition shares with the end of the text, at most."""
FEWEST = 3
"""A shorter draft is hardly cheaper to verify."""
CONFIDENCE = 0.4
"""The amateur drafts on while it holds its tokens so far for at least this likely, all together."""
LOSS, SHORT = 0.05, 64
"""The share of plain decoding's time that drafts may cost in all; a text is taken to have at least so many tokens."""
CREDIT = 4
"""The most steps that a source may have saved up, so that one that was good and no longer is stops after a few drafts."""
MEMORY = 8
"""Steps over which costs are averaged; every so many tokens one is drafted by nobody, to know what that costs."""


class Track:
    """How well a source does: what it has ``saved``, in steps of plain decoding, and the ``length`` that a draft should have.

    A step with a draft that costs as much as c plain steps and gives n tokens saves n - c. The length doubles after a draft that
    was accepted as a whole; after any other it is one more than the tokens accepted.

    Example:
        >>> track = Track(most=8)
        >>> track.learn(drafted=4, accepted=4, cost=2.0)
        >>> track.length, track.saved, track.cost
        (8, 3.0, 2.0)
        >>> track.learn(drafted=8, accepted=4, cost=2.0)
        >>> track.length
        5
    """

    def __init__(self, most: int) -> None:
        self.most, self.length, self.saved, self.cost = most, FEWEST + 1, 0.0, 2.0

    def learn(self, drafted: int, accepted: int, cost: float) -> None:
        """Take into account how many tokens of a draft were accepted, and what the step cost, in plain steps."""
        self.saved = min(self.saved + accepted + 1 - cost, CREDIT)
        self.cost += (cost - self.cost) / MEMORY
        self.length = min(self.most, max(FEWEST, 2 * drafted if accepted == drafted else accepted + 1))

    def may_draft(self, allowed: float) -> bool:
        """Whether a draft of which nothing is accepted costs no more than the source has saved and is ``allowed`` to lose."""
        return self.cost - 1 <= self.saved + allowed


@dataclass
class Draft:
    """Tokens that may follow the text, and what is known about them."""

    tokens: list[int] = field(default_factory=list)
    proposals: list[Float[Tensor, "vocabulary"] | None] = field(default_factory=list)
    """For each token the distribution it was drawn from, None where it was not drawn."""
    negatives: list[Float[Tensor, "1 vocabulary"]] = field(default_factory=list)
    """The amateur's logits at the first positions, as far as it was asked already."""
    track: Track | None = None
    """The record of its source, which learns what became of the draft."""


@runtime_checkable
class Source(Protocol):
    """Where drafts come from."""

    track: Track

    def draft(self, new: Int[Tensor, "1 new"], most: int) -> Draft:
        """Up to ``most`` tokens that may follow the prompt and ``new``; none where it knows nothing."""


class Repetition(Source):
    """The text's own continuations.

    Example:
        >>> import torch
        >>> source = Repetition([5, 6, 7, 8], most=8)
        >>> source.draft(torch.tensor([[5, 6]]), most=3).tokens
        [7, 8, 5]
        >>> source.draft(torch.tensor([[5, 6, 9]]), most=3).tokens
        []
    """

    def __init__(self, prompt: list[int], most: int) -> None:
        self.track = Track(most)
        self.prompt, self.text = len(prompt), list[int]()
        self.following: dict[tuple[int, ...], int] = {}  # where the token stands that followed these last
        self._extend(prompt)

    @override
    def draft(self, new: Int[Tensor, "1 new"], most: int) -> Draft:
        self._extend(new[0, len(self.text) - self.prompt :].tolist())
        for length in range(min(LONGEST, len(self.text)), 0, -1):
            start = self.following.get(tuple(self.text[-length:]))
            if start is not None:
                repeated = self.text[start : start + most]
                tokens = (repeated * most)[:most]  # what reaches the end of the text goes round
                return Draft(tokens, [None] * most, track=self.track)
        return Draft()

    def _extend(self, tokens: list[int]) -> None:
        for token in tokens:
            for length in range(1, min(LONGEST, len(self.text)) + 1):
                self.following[tuple(self.text[-length:])] = len(self.text)
            self.text.append(token)


class AmateurSource(Source):
    """The amateur's own continuations: its best tokens, or tokens drawn from its plausible set.

    A contrast takes from the expert what the amateur says, but both seldom leave a token plausible that the other excludes: on its
    own plausible set the amateur is closer to the contrast than as it is, sharpened or flattened.

    Args:
        follower: The amateur along the text.
        width: Number of tokens in the expert's vocabulary.
        known_tokens: Tokens that both are known to share.
        most: The longest draft.
        alpha: Plausibility constraint of the tokens that are drawn, in [0, 1].
        temperature: Temperature of the draws; None takes the best tokens.
    """

    def __init__(
        self, follower: RewindableModel, width: int, known_tokens: int | None, most: int, alpha: float, temperature: float | None
    ) -> None:
        self.track = Track(most)
        self.follower, self.width, self.known_tokens = follower, width, known_tokens
        self.alpha, self.temperature = alpha, temperature

    def logits(self, new: Int[Tensor, "1 new"], last: int) -> Float[Tensor, "{last} vocabulary"]:
        """Logits over the expert's vocabulary after each of the ``last`` tokens."""
        check_known(self.follower.model, new.flatten().tolist())
        logits = self.follower.logits(new, last)
        check_amateur(logits, type(self.follower.model).__name__)
        return aligned(logits, self.width, self.known_tokens)

    @override
    def draft(self, new: Int[Tensor, "1 new"], most: int) -> Draft:
        draft = Draft(track=self.track)
        likelihood = 1.0
        while len(draft.tokens) < most and likelihood >= CONFIDENCE:
            text = torch.cat([new, new.new_tensor([draft.tokens])], dim=1) if draft.tokens else new
            negative = self.logits(text, 1)
            likelihood *= float(negative.softmax(dim=-1).amax())
            draft.negatives.append(negative)
            if self.temperature is None:
                draft.tokens.append(int(negative.argmax()))
                draft.proposals.append(None)
            else:
                kept = negative.masked_fill(~plausible(negative, alpha=self.alpha), -torch.inf)
                proposal = (kept[0] / self.temperature).softmax(dim=-1)
                draft.tokens.append(int(torch.multinomial(proposal, 1)))
                draft.proposals.append(proposal)
        return draft


class Drafter:
    """Asks the first source that knows something and may draft: in all, drafts cost at most :data:`LOSS` of plain decoding's time.

    Each source may lose its part of that, and what it has saved. The first step, which reads the prompt, tells nothing; the next
    one and every so many later ones have no draft and say what plain decoding costs.

    Args:
        sources: To be asked in this order.
        most: The longest draft, 0 for none.
    """

    def __init__(self, sources: list[Source], most: int) -> None:
        self.sources, self.most = sources, most
        self.tokens, self.plain_ago, self.plain = 0, 0, 0.0

    def draft(self, new: Int[Tensor, "1 new"], room: int) -> Draft:
        """Up to ``room`` tokens that may follow."""
        allowed = LOSS * max(self.tokens, SHORT) / len(self.sources)
        if self.plain and self.plain_ago < MEMORY**2:
            for source in self.sources:
                size = min(self.most, room, source.track.length)
                if size > 0 and source.track.may_draft(allowed):
                    draft = source.draft(new, size)
                    if draft.tokens:
                        return draft
        return Draft()

    def learn(self, draft: Draft, accepted: int, cost: float) -> None:
        """What became of a draft, and what the step cost in any unit."""
        if draft.track is not None:
            draft.track.learn(len(draft.tokens), accepted, cost / self.plain)
        elif self.tokens:
            self.plain += (cost - self.plain) / (MEMORY if self.plain else 1)
        self.plain_ago = 0 if draft.track is None else self.plain_ago + 1
        self.tokens += accepted + 1
