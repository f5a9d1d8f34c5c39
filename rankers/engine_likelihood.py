"""The likelihood ranker over an engine that tells the log-probabilities of given texts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from counterpoint.decoders.forwards.chats import Chat, Prompt
from counterpoint.decoders.forwards.encoding import Encoded, encode_pair
from counterpoint.rankers.base import CandidateScorer, Ranker, Scores, Texts, split
from counterpoint.rankers.continuation_texts import GeneratedText
from counterpoint.rankers.engines import Engine
from counterpoint.rankers.likelihood import FORMS


class EngineLikelihoodRanker(Ranker):
    """:class:`~counterpoint.rankers.LikelihoodRanker` whose model runs in an engine: vLLM, or a server that has ``echo``.

        log_likelihood   ln p(x | prefix)
        per_token        ln p(x | prefix) / |x|
        pmi              ln p(x | prefix) - ln p(x | <begin>)

    Tokens and borders are the same as there. Equal texts are asked for once; what they share, a server with prefix caching keeps.

    Args:
        engine: What tells log-probabilities.
        tokenizer: Its model's tokenizer.
        form: One of the three above.

    Raises:
        ValueError: For another ``form``, for ``pmi`` with a tokenizer without begin- and end-of-text tokens, and from scoring where
            the engine tells no log-probabilities.
    """

    def __init__(self, engine: Engine, tokenizer: PreTrainedTokenizerBase, *, form: str = "per_token") -> None:
        if form not in FORMS:
            raise ValueError(f"form={form!r}: choose one of {', '.join(FORMS)}")
        self.engine, self.tokenizer, self.form, self.comparable = engine, tokenizer, form, form == "pmi"
        begin = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        if form == "pmi" and begin is None:
            raise ValueError("form='pmi' needs a begin- or end-of-text token, and tokenizer has neither; set tokenizer.bos_token")
        self.begin = (begin,)

    @override
    def prepare(self, prefixes: Sequence[Prompt]) -> CandidateScorer:
        def scores_of(candidates: Sequence[Texts]) -> Scores:
            texts = [self.encoded(prefix, text) for prefix, own in zip(prefixes, candidates, strict=True) for text in own]
            pairs = [*texts, *((self.begin, after) for _, after in texts)] if self.form == "pmi" else texts
            distinct = list(dict.fromkeys(pairs))
            found = dict(zip(distinct, map(sum, self.engine.log_probabilities(distinct)), strict=True))
            values = [
                found[text] / len(text[1])
                if self.form == "per_token"
                else found[text] - (found[self.begin, text[1]] if self.form == "pmi" else 0.0)
                for text in texts
            ]
            return split(torch.tensor(values), candidates)

        return scores_of

    def encoded(self, prefix: Prompt, text: str) -> Encoded:
        """The tokens of a prefix and of what follows it: of a generated text those that were generated."""
        if isinstance(text, GeneratedText) and text.tokenizer is self.tokenizer and text.prefix == prefix:
            return text.prompt, text.tokens
        if isinstance(prefix, Chat):
            return encode_pair(self.tokenizer, prefix.text(self.tokenizer), text, from_template=True)
        return encode_pair(self.tokenizer, prefix, text)
