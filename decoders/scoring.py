"""Log-probabilities of given continuations, under any decoder that defines a distribution."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders.base import DistributionProcessor
from counterpoint.decoders.forwards.chats import Prompt
from counterpoint.decoders.forwards.given_texts import GivenTexts
from counterpoint.decoders.forwards.layer_tap import LayerTap
from counterpoint.decoders.forwards.prefix_cache import PrefixCache
from counterpoint.decoders.forwards.text_batches import Inputs, batches, encode
from counterpoint.decoders.forwards.text_forward import forward_texts
from counterpoint.decoders.hf.configuration import decoder_beginning
from counterpoint.decoders.hf.generate_call import reading
from counterpoint.decoders.hf.side_forward import side_forward
from counterpoint.decoders.hf.wrappers import Model, plain_model
from counterpoint.decoders.search.contrastive_search_processor import ContrastiveSearchLogitsProcessor
from counterpoint.decoders.text_outputs import Processor, TextOutputs, processed, teacher_forced

Decoder = Processor | Sequence[Processor] | None


@dataclass(frozen=True)
class Score:
    """A continuation's tokens and what a decoder gives each.

    Example:
        >>> from counterpoint.decoders import Score
        >>> Score(tokens=(7, 9), log_probabilities=(-0.5, -1.25), renormalised=True, greedy=False).total
        -1.75
    """

    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    """ln p of each token; the decoder's own scores if not ``renormalised``."""
    renormalised: bool
    greedy: bool
    """Whether each token is the decoder's most probable one, so that greedy decoding writes this."""

    @property
    def total(self) -> float:
        """Their sum: -inf if the decoder bans a token."""
        return math.fsum(self.log_probabilities)


def score(
    model: Model,
    tokenizer: PreTrainedTokenizerBase | None,
    prompts: Sequence[Prompt] | Sequence[Sequence[int]] | Sequence[Inputs],
    continuations: Sequence[Sequence[str]] | Sequence[Sequence[Sequence[int]]],
    decoder: Decoder = None,
    *,
    renormalise: bool = True,
    banned: float = -math.inf,
    batch_tokens: int = 256,
) -> list[list[Score]]:
    """What a decoder makes of given continuations: for each token s(x_t) = ln softmax(F(. | x_<t))_{x_t}, and their sum.

    F are the scores from which the decoder would have generated, so that a text which ``generate`` wrote gets the log-probabilities
    it was drawn with. Contrasts of this library (contrastive decoding, induce-then-contrast, context-aware decoding, DoLa, SLED,
    layer fusion) are computed for all positions at once, other logits processors token by token.

    Whatever texts have in common is computed once: they are read as one tree of tokens, in one tree-masked forward where the model
    can (see :func:`~counterpoint.decoders.candidate_method`), and what all begin with stays in the cache.

    Args:
        model: The model that would generate.
        tokenizer: Its tokenizer; None if all texts are given as tokens.
        prompts: The prompts, text or tokens. A text is tokenised together with its continuation, and the continuation's tokens are
            those after the prompt's; if a tokenizer joins the two in one token, that token counts to the continuation. A prompt
            with pictures is its processor's output for it, one prompt in each; the pictures are read once.
        continuations: For each prompt its continuations, text (as it follows, with its space) or tokens. Padding after an end of
            text is not scored, so that rows of ``generate`` are taken as they are; prompts are given without padding.
            Encoder-decoder models get the prompts in the encoder; a token that ``model.generation_config`` forces their decoder to
            begin with (``forced_bos_token_id``, a language for instance) stands before each continuation and is not scored.
        decoder: What ``generate`` would get: a logits processor, a list of them, or None for the model itself. A
            :class:`~counterpoint.decoders.PromptAmateur` has one other prompt for each prompt, or one for all.
        renormalise: Whether F is normalised. If not, ``decoder`` is given log-probabilities, and its scores are summed as they are:
            ln p - ln q for a contrast, which may be above 0. The released code of DoLa and of induce-then-contrast does this
            for TruthfulQA, and MC2 depends on it more than on the method.
        banned: The value of a token that the decoder bans; released code takes -1000.
        batch_tokens: A forward reads texts until it has so many tokens.

    Returns:
        For each prompt a list with a :class:`Score` for each continuation.

    Raises:
        ValueError: For decoders that have no distribution to score by, such as contrastive search, which chooses among the
            candidates by something else than their probability; for decoders made for another model; for prompts and continuations
            without tokens, or longer than the model's context.
        TypeError: For one text in the place of a list, whose letters would be taken for texts.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import ContrastiveDecodingLogitsProcessor, score
        >>> from counterpoint.eval import AMATEUR, EXPERT
        >>> expert, amateur = (AutoModelForCausalLM.from_pretrained(path) for path in (EXPERT, AMATEUR))
        >>> tokenizer = AutoTokenizer.from_pretrained(EXPERT)
        >>> decoder = ContrastiveDecodingLogitsProcessor(amateur, alpha=0.0)
        >>> (likely, unlikely), = score(expert, tokenizer, ["The captain of the"], [[" ship", " cheese"]], decoder)
        >>> likely.total > unlikely.total
        True
    """
    return list(
        score_each(
            model,
            tokenizer,
            prompts,
            continuations,
            decoder,
            renormalise=renormalise,
            banned=banned,
            batch_tokens=batch_tokens,
        )
    )


def score_each(
    model: Model,
    tokenizer: PreTrainedTokenizerBase | None,
    prompts: Sequence[Prompt] | Sequence[Sequence[int]] | Sequence[Inputs],
    continuations: Sequence[Sequence[str]] | Sequence[Sequence[Sequence[int]]],
    decoder: Decoder = None,
    *,
    renormalise: bool = True,
    banned: float = -math.inf,
    batch_tokens: int = 256,
) -> Iterator[list[Score]]:
    """:func:`score`, prompt after prompt as they are done.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import score_each
        >>> from counterpoint.eval import EXPERT
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> for scores in score_each(model, tokenizer, ["The captain of", "The King of"], [[" the", " them"], [" England"]]):
        ...     print(len(scores))
        2
        1
    """
    if isinstance(prompts, str):
        raise TypeError("prompts is one text; pass a list of texts, [text] for a single one")
    if any(isinstance(texts, str) for texts in continuations):
        raise TypeError("continuations has a text where a list is; give each prompt a list of texts, [[text]] for a single one")
    if len(prompts) != len(continuations):
        raise ValueError(f"{len(continuations)} lists of continuations for {len(prompts)} prompts: give one each")
    model = plain_model(model)
    scorer = Scorer(model, decoder, renormalise, banned)
    pairs = [
        (number, *encoded)
        for number, (prompt, texts) in enumerate(zip(prompts, continuations, strict=True))
        for encoded in encode(model, tokenizer, prompt, texts)
    ]
    done: list[list[Score]] = [[] for _ in prompts]
    given, beside = 0, beside_texts(prompts)
    for texts in batches(pairs, len(prompts), scorer.start, batch_tokens, beside):
        for number, scored in zip(texts.numbers, scorer(texts), strict=True):
            done[number].append(scored)
        while given < len(done) and len(done[given]) == len(continuations[given]):
            yield done[given]
            given += 1
    yield from done[given:]  # those without continuations


def beside_texts(prompts: Sequence[Any]) -> list[Inputs]:
    """What a model takes beside each prompt's text; nothing where all prompts are texts."""
    text = ("input_ids", "attention_mask")
    found: list[Inputs] = [
        {name: each[name] for name in each if name not in text} if isinstance(each, Mapping) else {} for each in prompts
    ]
    return found if any(found) else []


class Scorer:
    """A decoder over texts: reads them, and keeps what the next ones may share."""

    def __init__(self, model: PreTrainedModel, decoder: Decoder, renormalise: bool, banned: float) -> None:
        self.model, self.renormalise, self.banned = model, renormalise, banned
        self.processors = processors_of(decoder)
        own: list[Any] = [processor for processor in self.processors if isinstance(processor, DistributionProcessor)]
        self.taps: list[LayerTap] = [tap for each in own for tap in each.taps]
        self.prefix = PrefixCache(model)
        self.start = decoder_beginning(model)
        if model.main_input_name != "input_ids" and self.start:
            raise ValueError(f"{type(model).__name__} takes {model.main_input_name} in its encoder, where score() gives texts")
        for tap in self.taps:
            if tap.owner is None and not any(module is tap.modules for module in model.modules()):
                raise ValueError(f"decoder reads the layers of another {tap.name} than model: make it for the model to score by")

    @torch.no_grad()
    def __call__(self, texts: GivenTexts) -> list[Score]:
        """The score of each text."""
        with reading(self) as call, call:
            return self._scored(texts, self._scores(texts))

    @torch.no_grad()
    def scores(self, texts: GivenTexts) -> Float[Tensor, "positions vocabulary"]:
        """The decoder's scores of all tokens, float32, at each position of the texts."""
        with reading(self) as call, call:
            return self._scores(texts)

    def _scores(self, texts: GivenTexts) -> Float[Tensor, "positions vocabulary"]:
        layers = [layer for tap in self.taps if tap.owner is None for layer in tap.layers]
        with side_forward(self) as aside, aside:
            own = forward_texts(self.prefix, texts, texts.positions, layers)
        scores = own.logits.float()
        if not self.renormalise:
            scores = scores.log_softmax(dim=-1)
        for processor in self.processors:
            if isinstance(processor, DistributionProcessor):
                scores = processed(processor, TextOutputs(self.model, texts, own, self.taps), scores)
            else:
                scores = teacher_forced(processor, texts, scores)
        return scores

    def _scored(self, texts: GivenTexts, scores: Float[Tensor, "positions vocabulary"]) -> list[Score]:
        normaliser = scores.logsumexp(dim=-1, keepdim=True) if self.renormalise else 0.0
        rows = [where for text in texts.where for where in text]
        tokens = [token for continuation in texts.continuations for token in continuation]
        if max(tokens) >= scores.shape[-1]:
            raise ValueError(f"token {max(tokens)} of a continuation has no logit: the model's head has {scores.shape[-1]} tokens")
        values = (scores - normaliser)[rows, tokens]
        found = iter(values.masked_fill(values == -torch.inf, self.banned).tolist())
        best = iter((scores.argmax(dim=-1)[rows] == torch.tensor(tokens, device=scores.device)).tolist())
        return [
            Score(text, tuple(islice(found, len(text))), self.renormalise, all([*islice(best, len(text))]))
            for text in texts.continuations
        ]


def processors_of(decoder: Any) -> list[Processor]:
    """The logits processors that make up a decoder.

    Raises:
        ValueError: If it is none.
    """
    processors = [decoder] if isinstance(decoder, LogitsProcessor) else decoder
    if processors is None:
        return []
    if not isinstance(processors, Sequence) or any(isinstance(each, ContrastiveSearchLogitsProcessor) for each in processors):
        name = getattr(decoder, "__name__", type(decoder).__name__)
        raise ValueError(
            f"decoder={name}: the probability of a text is undefined, since it chooses tokens by more than a distribution; score "
            "with decoder=None (the model itself) or logits processors"
        )
    return list(processors)
