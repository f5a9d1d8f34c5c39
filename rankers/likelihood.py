"""How probable a language model finds a continuation, by itself or more than without its prefix."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from counterpoint.decoders.forwards.chats import Prompt
from counterpoint.decoders.forwards.encoding import Encoded
from counterpoint.decoders.hf.wrappers import Model, plain_model
from counterpoint.decoders.scoring import Decoder, Scorer
from counterpoint.rankers.base import CandidateScorer, Scores, Texts
from counterpoint.rankers.causal import CausalRanker, read_once

FORMS = ("log_likelihood", "per_token", "pmi")


class LikelihoodRanker(CausalRanker):
    """Scores continuations x of a prefix by the probability that a causal language model, under any decoder, gives them.

        log_likelihood   ln p(x | prefix)                            the shorter, the better
        per_token        ln p(x | prefix) / |x|                      minus the logarithm of the perplexity
        pmi              ln p(x | prefix) - ln p(x | <begin>)        pointwise mutual information with the prefix

    ``per_token`` is the baseline "LM perplexity" of RankGen (Krishna et al. 2022, arXiv 2205.09726, table 3), which loses to
    nucleus sampling: text that a model finds likely is repetitive. Pointwise mutual information takes away what is likely after
    anything (Li et al. 2016, arXiv 1510.03055, *A Diversity-Promoting Objective Function for Neural Conversation Models*; Holtzman
    et al. 2021, arXiv 2104.08315). For p(x | <begin>) the same tokens of x follow the tokenizer's begin-of-text token alone, or
    its end-of-text token if it has none, as after a document that has ended.

    p is the model's or, under ``decoder``, the renormalised distribution from which ``generate`` would draw with it; a decoder that
    bans tokens bans the texts that hold them, whose score is -inf. Tokens and borders are those of
    :func:`~counterpoint.decoders.score`; in ranked search, best-of-n and ``rerank`` of ids, where the same tokenizer is given, they
    are the tokens that were generated.

    A prefix is read with its first candidates, in one forward, and its keys and values stay until the scorer is dropped, with those
    that its candidates had in common: a later round reads what is new. Sliding windows that have filled up, recurrent states and
    encoder-decoder models keep nothing of that kind and read the prefix again in each round, and so do amateurs within the decoder
    when there are several prefixes: they hold the last text only.

    Mutual information is comparable across prefixes: it says how much a prefix does for its continuation. The other forms are not:
    some prefixes make any continuation more predictable.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        decoder: What ``generate`` would get: a logits processor, a list of them, or None for the model itself.
        form: One of the three above.

    Raises:
        ValueError: For another ``form``; for a decoder that has no distribution, or was made for another model; for ``pmi`` with a
            tokenizer that has neither a begin- nor an end-of-text token; for texts longer than the model's context; and where the
            decoder bans a continuation after <begin>, so that its mutual information is undefined.

    Example:
        >>> from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
        >>> from counterpoint.rankers import SMALL, LikelihoodRanker
        >>> tokenizer = AutoTokenizer.from_pretrained(SMALL)
        >>> sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes))  # in its place any causal language model
        >>> ranker = LikelihoodRanker(model, tokenizer, form="log_likelihood")
        >>> scorer = ranker.scorer(["The captain of the", "My dear"])  # reads them once
        >>> (ship, longer), (friend,) = scorer([[" ship", " ship sank"], [" friend"]])
        >>> bool(ship > longer)
        True
    """

    def __init__(
        self,
        model: Model,
        tokenizer: PreTrainedTokenizerBase,
        *,
        decoder: Decoder = None,
        form: str = "per_token",
    ) -> None:
        if form not in FORMS:
            raise ValueError(f"form={form!r}: choose one of {', '.join(FORMS)}")
        self.model, self.tokenizer, self.decoder, self.form = plain_model(model), tokenizer, decoder, form
        self.comparable = form == "pmi"
        self.begin = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        if form == "pmi" and self.begin is None:
            raise ValueError(
                "form='pmi' needs a begin- or end-of-text token to condition on instead of the prefix, and tokenizer has neither; "
                "set tokenizer.bos_token"
            )
        self.text_scorer()

    def text_scorer(self) -> Scorer:
        """The decoder over texts, with a cache of its own."""
        return Scorer(self.model, self.decoder, renormalise=True, banned=-math.inf)

    @override
    def prepare(self, prefixes: Sequence[Prompt]) -> CandidateScorer:
        scorers = [self.text_scorer() for _ in prefixes]
        unconditional = self.text_scorer()

        def scores_of(candidates: Sequence[Texts]) -> Scores:
            encoded = [self.encoded(self.model, prefix, texts) for prefix, texts in zip(prefixes, candidates, strict=True)]
            return [
                torch.tensor(self.values(scorer, unconditional, number, texts, len(prefixes)))
                for number, (scorer, texts) in enumerate(zip(scorers, encoded, strict=True))
            ]

        return scores_of

    def values(
        self, scorer: Scorer, unconditional: Scorer, number: int, texts: Sequence[Encoded], number_of_prefixes: int
    ) -> list[float]:
        """The score of each candidate of the prefix of that number."""
        found = read_once(scorer, scorer, number, texts, number_of_prefixes)
        if self.form == "log_likelihood":
            return [score.total for score in found]
        if self.form == "per_token":
            return [score.total / len(score.tokens) for score in found]
        without_prefix = [((self.begin,), tokens) for _, tokens in texts]
        alone = read_once(unconditional, unconditional, number, without_prefix, number_of_prefixes)
        for score in alone:
            if score.total == -math.inf:
                text = self.tokenizer.decode(list(score.tokens))
                raise ValueError(
                    f"form='pmi': the decoder bans {text!r} where no prefix comes before it, so that its mutual information is "
                    "undefined; take a decoder that bans nothing (alpha=0), or another form"
                )
        return [score.total - without.total for score, without in zip(found, alone, strict=True)]
