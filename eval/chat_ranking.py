"""The likelihood of answers in chats, among rankers that read words alone."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import override

from counterpoint.decoders.forwards.chats import Chat
from counterpoint.rankers.base import CandidateScorer, Ranker, Texts
from counterpoint.rankers.likelihood import LikelihoodRanker


class ChatLikelihood(Ranker):
    """A likelihood after chats: where a prefix is the words of a chat, its template is read in its place.

    Args:
        ranker: The likelihood.
        chats: Chats by their words.
    """

    def __init__(self, ranker: LikelihoodRanker, chats: Mapping[str, Chat]) -> None:
        self.ranker, self.chats, self.comparable = ranker, chats, ranker.comparable

    @override
    def prepare(self, prefixes: Texts) -> CandidateScorer:
        return self.ranker.prepare([self.chats.get(prefix, prefix) for prefix in prefixes])
