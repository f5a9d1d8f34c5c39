"""How sure a model was of a text: rankers by the distributions from which its tokens were chosen."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from counterpoint.decoders.forwards.chats import Prompt
from counterpoint.decoders.forwards.given_texts import GivenTexts
from counterpoint.decoders.hf.wrappers import Model, plain_model
from counterpoint.decoders.scoring import Scorer
from counterpoint.rankers.base import CandidateScorer, Scores, Texts
from counterpoint.rankers.causal import CausalRanker, read_once
from counterpoint.rankers.continuation_texts import GeneratedText
from counterpoint.rankers.judges.measures import MEASURES, self_certainty, token_confidence, trace_confidence


class CertaintyRanker(CausalRanker):
    """Scores a text by what a measure makes of the model's distribution at each of its tokens, reduced to one number.

    A subclass writes :meth:`of_tokens` and :meth:`of_text`. The distributions are those from which each token was chosen, that of
    the first token included and none after the last.
    """

    comparable = False

    def __init__(self, model: Model | None, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = None if model is None else plain_model(model), tokenizer

    @abstractmethod
    def of_tokens(self, logits: Float[Tensor, "positions vocabulary"]) -> Float[Tensor, " positions"]:
        """The measure of each distribution."""

    @abstractmethod
    def of_text(self, tokens: Sequence[float]) -> float:
        """The measure of a text from those of its tokens."""

    @override
    def prepare(self, prefixes: Sequence[Prompt]) -> CandidateScorer:
        model = self.model
        if model is None:
            return lambda candidates: [torch.tensor([self.of_text(self.kept(text)) for text in texts]) for texts in candidates]
        scorers = [Scorer(model, None, renormalise=True, banned=-math.inf) for _ in prefixes]

        def scores_of(candidates: Sequence[Texts]) -> Scores:
            scores = []
            for number, (scorer, prefix, texts) in enumerate(zip(scorers, prefixes, candidates, strict=True)):

                def read(texts: GivenTexts, scorer: Scorer = scorer) -> list[float]:
                    values = self.of_tokens(scorer.scores(texts)).tolist()
                    return [self.of_text([values[position] for position in where]) for where in texts.where]

                encoded = self.encoded(model, prefix, texts)
                scores.append(torch.tensor(read_once(scorer, read, number, encoded, len(prefixes))))
            return scores

        return scores_of

    def kept(self, text: str) -> list[float]:
        """The measure of each token by the logits that generation kept.

        Raises:
            ValueError: If there are none.
        """
        if not isinstance(text, GeneratedText) or text.logits is None:
            raise ValueError(
                f"model=None reads the logits that generation kept, and {text!r} has none: pass rerank() what "
                "generate(output_logits=True, return_dict_in_generate=True) returned without beams, or give the ranker the model"
            )
        ends = len(text.new) - len(text.tokens)
        logits = text.logits[: len(text.logits) - ends]
        return list(self.of_tokens(torch.stack(list(logits)).float()).tolist())


class SelfCertaintyRanker(CertaintyRanker):
    """Scores by self-certainty: how far the model's distributions are from uniform, on average over a text's tokens.

        s(y) = 1/n * sum_i KL(uniform || p_i) = -1/(n |V|) * sum_i sum_v ln(|V| * p(v | x, y_<i))

    Kang et al., *Scalable Best-of-N Selection for Large Language Models via Self-Certainty* (2025, arXiv 2502.18581), whose best of
    N has the highest; their Borda count is ``VoteRanker(SelfCertaintyRanker(model, tokenizer), power=0.5)``. It is in nats, 0 or
    more, and 0 for a uniform model.

    V are the tokens that the tokenizer knows, and p is over them: a model's head may have more rows, which were never trained and
    whose very small probabilities would weigh as much as any. The released code takes them all, leaves out the distribution of the
    first token and adds the one after the last.

    Args:
        model: The model that wrote the texts, or None to read the logits that it kept: of
            ``generate(output_logits=True, return_dict_in_generate=True)``, by ``rerank``, without another forward.
        tokenizer: Its tokenizer.

    Raises:
        ValueError: From scoring, without ``model``, for a text whose logits were not kept; as for
            :class:`~counterpoint.rankers.LikelihoodRanker` with it.

    Example:
        >>> from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
        >>> from counterpoint.rankers import SMALL, SelfCertaintyRanker
        >>> tokenizer = AutoTokenizer.from_pretrained(SMALL)
        >>> sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes))  # in its place any causal language model
        >>> scores, = SelfCertaintyRanker(model, tokenizer).score(["1 + 1 ="], [[" 2", " 3"]])
        >>> bool((scores > 0).all())
        True
    """

    def __repr__(self) -> str:
        return f"SelfCertaintyRanker({type(self.model).__name__})"

    @override
    def of_tokens(self, logits: Float[Tensor, "positions vocabulary"]) -> Float[Tensor, " positions"]:
        return self_certainty(logits[:, : len(self.tokenizer)])

    @override
    def of_text(self, tokens: Sequence[float]) -> float:
        return math.fsum(tokens) / len(tokens)


class ConfidenceRanker(CertaintyRanker):
    """Scores by DeepConf's confidence: how unlikely the runners-up of the likeliest token are, over windows of a text's tokens.

        C_i = -1/k * sum of the k largest ln p(v | x, y_<i);    s(y) by :func:`~counterpoint.rankers.trace_confidence`

    Fu et al., *Deep Think with Confidence* (2025, arXiv 2508.15260). Their offline vote is
    ``VoteRanker(ConfidenceRanker(model, tokenizer), keep=0.1)``; :class:`~counterpoint.rankers.ConfidenceStop` is the online one.

    Args:
        model: The model that wrote the texts, or None to read the logits that it kept: of
            ``generate(output_logits=True, return_dict_in_generate=True)``, by ``rerank``, without another forward.
        tokenizer: Its tokenizer.
        measure: ``"lowest"``, ``"bottom"``, ``"tail"`` or ``"mean"``.
        window: Number of tokens in a window; 2048 as released. A shorter text is one window.
        top: k; 20 as released.

    Raises:
        ValueError: For another ``measure``, and ``window`` or ``top`` below 1; from scoring, for a ``top`` above the number of
            tokens, and as for :class:`~counterpoint.rankers.SelfCertaintyRanker`.

    Example:
        >>> from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
        >>> from counterpoint.rankers import SMALL, ConfidenceRanker, rerank
        >>> tokenizer = AutoTokenizer.from_pretrained(SMALL)
        >>> sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
        >>> ends = dict(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes, **ends))  # in its place any language model
        >>> inputs = tokenizer("1 + 1 =", return_tensors="pt")
        >>> keep = dict(output_logits=True, return_dict_in_generate=True)
        >>> output = model.generate(**inputs, do_sample=True, num_return_sequences=3, max_new_tokens=8, **keep)
        >>> ranker = ConfidenceRanker(None, tokenizer, window=4)  # reads what was kept
        >>> best = rerank(ranker, "1 + 1 =", output, tokenizer=tokenizer, prompt_length=inputs.input_ids.shape[1])
        >>> len(best.texts)
        3
    """

    def __init__(
        self,
        model: Model | None,
        tokenizer: PreTrainedTokenizerBase,
        *,
        measure: str = "lowest",
        window: int = 2048,
        top: int = 20,
    ) -> None:
        if measure not in MEASURES:
            raise ValueError(f"measure={measure!r}: choose one of {', '.join(MEASURES)}")
        for name, value in (("window", window), ("top", top)):
            if value < 1:
                raise ValueError(f"{name}={value}: a number of tokens, 1 or more")
        super().__init__(model, tokenizer)
        self.measure, self.window, self.top = measure, window, top

    def __repr__(self) -> str:
        name = type(self.model).__name__
        return f"ConfidenceRanker({name}, measure={self.measure!r}, window={self.window}, top={self.top})"

    @override
    def of_tokens(self, logits: Float[Tensor, "positions vocabulary"]) -> Float[Tensor, " positions"]:
        return token_confidence(logits, top=self.top)

    @override
    def of_text(self, tokens: Sequence[float]) -> float:
        return trace_confidence(tokens, measure=self.measure, window=self.window)
