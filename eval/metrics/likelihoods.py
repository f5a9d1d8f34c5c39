"""How likely a causal language model finds texts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders.forwards.encoding import Encoded, encode_pair, encode_prompt
from counterpoint.decoders.scoring import Score, score_each
from counterpoint.eval.metrics.texts import as_list, check_pairs


def perplexity(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str] | None,
    continuations: Sequence[str],
    *,
    batch_tokens: int = 256,
) -> float:
    """The perplexity of texts under a causal language model, given their prompts.

        ppl = exp( - sum_i sum_t ln p(x_it | prompt_i, x_i,<t) / sum_i |x_i| )

    One figure for all tokens of all texts, as in Pillutla et al., *MAUVE* (2021, arXiv 2102.01454): long texts weigh more. A text
    is not better for being less perplexing; repetition is the least perplexing of all (Holtzman et al. 2020, arXiv 1904.09751).
    It depends on the model's tokens, so that figures of models with different tokenizers do not compare.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer. Prompt and continuation are tokenised as :func:`~counterpoint.decoders.score` does: together, so
            that a token that spans both counts to the continuation, with the special tokens that the tokenizer puts before a text.
            The mean of ``score``'s log-probabilities is thus minus the logarithm of the perplexity.
        prompts: One for each continuation; None for texts that follow nothing. Their first token is then not predicted, unless the
            tokenizer puts another before it.
        continuations: The texts. Those without tokens count nothing.
        batch_tokens: A forward reads texts until it has so many tokens.

    Returns:
        The perplexity, 1 or more; inf if the model rules a token out.

    Raises:
        ValueError: If the numbers of prompts and continuations differ, if nothing has tokens, or if a text is longer than the
            model's context.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.eval import EXPERT, perplexity
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> likely = perplexity(model, tokenizer, ["The captain of the"], [" ship was on the deck"])
        >>> unlikely = perplexity(model, tokenizer, ["The captain of the"], [" deck ship the on was"])
        >>> likely < unlikely
        True
    """
    found = log_probabilities(model, tokenizer, prompts, continuations, batch_tokens=batch_tokens)
    tokens = sum(map(len, found))
    if not tokens:
        raise ValueError("continuations: none has a token to be predicted")
    mean = math.fsum(value for text in found for value in text) / tokens
    return math.exp(-mean) if mean > -math.inf else math.inf


def log_probabilities(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str] | None,
    continuations: Sequence[str],
    *,
    batch_tokens: int = 256,
) -> list[tuple[float, ...]]:
    """Log-probabilities ln p of each text's tokens, from which :func:`perplexity` and likelihood coherence are computed.

    Arguments and errors are :func:`perplexity`'s.

    Returns:
        For each continuation a value for each of its tokens, none for one without tokens.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.eval import EXPERT, log_probabilities
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> [len(each) for each in log_probabilities(model, tokenizer, ["The captain", "The"], [" of the ship", ""])]
        [3, 0]
    """
    texts = as_list(continuations)
    whole = bool(model.config.is_encoder_decoder)
    pairs = encoded_alone(tokenizer, texts) if prompts is None else encoded(tokenizer, as_list(prompts), texts, whole)
    if empty := [i for i, (prompt, text) in enumerate(pairs) if text and not prompt]:
        raise ValueError(f"prompts {empty[:5]} have no tokens; prompts=None takes texts that follow nothing")
    given = [[text] if text else [] for _, text in pairs]
    scores = score_each(model, None, [prompt for prompt, _ in pairs], given, batch_tokens=batch_tokens)
    return [values(found) for found in scores]


def encoded(tokenizer: PreTrainedTokenizerBase, prompts: list[str], continuations: list[str], whole: bool) -> list[Encoded]:
    """The tokens of each prompt and of its continuation; ``whole`` if an encoder reads the prompts."""
    check_pairs(prompts, continuations)
    return [
        encode_pair(tokenizer, prompt, text, is_encoder_decoder=whole) for prompt, text in zip(prompts, continuations, strict=True)
    ]


def encoded_alone(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[Encoded]:
    """The first token of each text and the others, which are predicted."""
    tokens = [tuple(encode_prompt(tokenizer, text)) for text in texts]
    return [(each[:1], each[1:]) for each in tokens]


def values(scores: Sequence[Score]) -> tuple[float, ...]:
    """The log-probabilities of the one text that was scored, if any."""
    return scores[0].log_probabilities if scores else ()
