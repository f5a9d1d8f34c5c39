"""Rankers by a language model of answers in chats, among rankers that read words alone."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import override

from counterpoint.decoders.forwards.chats import Chat
from counterpoint.rankers.base import CandidateScorer, Ranker, Texts
from counterpoint.rankers.causal import CausalRanker
from counterpoint.rankers.engine_likelihood import EngineLikelihoodRanker


class ChatRanker(Ranker):
    """A language model's judgement after chats: where a prefix is the words of a chat, its template is read in its place.

    Args:
        ranker: The ranker by a language model.
        chats: Chats by their words.
    """

    def __init__(self, ranker: CausalRanker | EngineLikelihoodRanker, chats: Mapping[str, Chat]) -> None:
        self.ranker, self.chats, self.comparable, self.whole_texts = ranker, chats, ranker.comparable, ranker.whole_texts

    def __repr__(self) -> str:
        return repr(self.ranker)

    @override
    def prepare(self, prefixes: Texts) -> CandidateScorer:
        return self.ranker.prepare([self.chats.get(prefix, prefix) for prefix in prefixes])
