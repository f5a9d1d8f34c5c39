"""What rankers share that read texts by a causal language model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from typing_extensions import override

from counterpoint.decoders.forwards.chats import Prompt
from counterpoint.decoders.forwards.encoding import Encoded
from counterpoint.decoders.forwards.given_texts import GivenTexts
from counterpoint.decoders.forwards.text_batches import batches, encode
from counterpoint.decoders.scoring import Scorer
from counterpoint.rankers.base import CandidateScorer, Ranker, Texts
from counterpoint.rankers.continuation_texts import GeneratedText

BATCH_TOKENS = 256
"""A forward reads candidates of one prefix until it has so many tokens."""

Read = TypeVar("Read")


class CausalRanker(Ranker):
    """A ranker that reads prefixes and continuations by a causal language model; a prefix may be a chat."""

    tokenizer: PreTrainedTokenizerBase

    @abstractmethod
    @override
    def prepare(self, prefixes: Sequence[Prompt]) -> CandidateScorer: ...

    def encoded(self, model: PreTrainedModel, prefix: Prompt, texts: Texts) -> list[Encoded]:
        """The tokens of a prefix and of each candidate: of one that the tokenizer's model wrote those that it wrote."""
        pairs: list[Encoded] = []
        for text in texts:
            if isinstance(text, GeneratedText) and text.tokenizer is self.tokenizer and text.prefix == prefix:
                pairs += encode(model, None, text.prompt, [text.tokens])
            else:
                pairs += encode(model, self.tokenizer, prefix, [text])
        return pairs


def read_once(
    scorer: Scorer,
    read: Callable[[GivenTexts], list[Read]],
    number: int,
    texts: Sequence[Encoded],
    number_of_prefixes: int,
) -> list[Read]:
    """What ``read`` makes of each continuation of the prefix of that number, equal ones read once."""
    distinct = list(dict.fromkeys(texts))
    given = batches([(number, *text) for text in distinct], number_of_prefixes, scorer.start, BATCH_TOKENS)
    found = dict(zip(distinct, (each for batch in given for each in read(batch)), strict=True))
    return [found[text] for text in texts]
