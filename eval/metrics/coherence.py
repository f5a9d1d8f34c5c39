"""How well continuations follow from their prompts, in the two senses that papers on decoding have of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.eval.metrics.likelihoods import log_probabilities
from counterpoint.eval.metrics.texts import as_list, check_pairs

Embed = Callable[[list[str]], Any]
"""Vectors ``[texts, d]`` of texts: a tensor or an array, such as ``SentenceTransformer(...).encode`` gives."""


def likelihood_coherence_of_each(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    continuations: Sequence[str],
    *,
    batch_tokens: int = 256,
) -> list[float]:
    """Coherence as likelihood: the mean log-probability of a continuation's tokens under a causal language model.

        coherence_i = 1 / |x_i| * sum_t ln p(x_it | prompt_i, x_i,<t)

    The corpus's coherence is the mean over texts (:func:`~counterpoint.eval.mean_over_texts`). Su and Xu, *An Empirical Study On
    Contrastive Search And Contrastive Decoding For Open-ended Text Generation* (2022, arXiv 2211.10797), where OPT-2.7b is the
    model: one that did not write the texts. Prompt and continuation are tokenised together, as everywhere here; their released code
    tokenises them apart, which is another figure only where a token spans both, or a tokenizer puts a space before every text.
    Special tokens come first where the tokenizer puts them, as OPT's does. Near 0 is likely, and nothing is as likely as
    repetition: greedy search's texts are nearer to 0 than sampled ones.

    Args:
        model: The causal language model whose probabilities count.
        tokenizer: Its tokenizer.
        prompts: One for each continuation.
        continuations: The generated texts, without their prompts.
        batch_tokens: A forward reads texts until it has so many tokens. What neighbouring texts have in common, such as a prompt
            that was continued several times, is read once.

    Returns:
        Nats a token for each text, 0 or less; nan for a text without tokens, which has no mean.

    Raises:
        ValueError: If the numbers of prompts and continuations differ or are 0, if a prompt has no tokens, or if a text is longer
            than the model's context.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.eval import EXPERT, likelihood_coherence_of_each
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> prompts, texts = ["The captain of the"] * 2, [" ship was on the deck", " deck ship the on was"]
        >>> first, second = likelihood_coherence_of_each(model, tokenizer, prompts, texts)
        >>> 0 > first > second
        True
    """
    found = log_probabilities(model, tokenizer, prompts, continuations, batch_tokens=batch_tokens)
    return [fmean(text) if text else math.nan for text in found]


def embedding_coherence_of_each(embed: Embed, prompts: Sequence[str], continuations: Sequence[str]) -> list[float]:
    """Coherence as similarity: the cosine of a continuation's embedding and its prompt's.

        coherence_i = cos(e(prompt_i), e(x_i))

    The corpus's coherence is the mean over texts (:func:`~counterpoint.eval.mean_over_texts`). Li et al., *Contrastive Decoding:
    Open-ended Text Generation as Optimization* (2022, arXiv 2210.15097), where e is SimCSE's supervised BERT
    (``princeton-nlp/sup-simcse-bert-base-uncased``). A figure means something beside others by the same encoder only: vectors of
    some encoders all point the same way.

    Args:
        embed: Gives the vectors ``[texts, d]`` of a list of texts: ``SentenceTransformer(...).encode``,
            :func:`~counterpoint.eval.mean_pooling` of any model, or your own. Called once, with prompts and continuations.
        prompts: One for each continuation.
        continuations: The generated texts, without their prompts.

    Returns:
        A cosine for each text; nan for an empty text, which has no meaning to compare.

    Raises:
        ValueError: If the numbers of prompts and continuations differ or are 0, or if ``embed`` does not give a vector for each.

    Example:
        >>> from counterpoint.eval import embedding_coherence_of_each
        >>> def embed(texts):
        ...     return [[text.count("whale"), text.count("ship")] for text in texts]
        >>> embedding_coherence_of_each(embed, ["a whale", "a whale"], ["the whale", "the ship"])
        [1.0, 0.0]
    """
    before, after = as_list(prompts), as_list(continuations)
    check_pairs(before, after)
    vectors = torch.as_tensor(embed([*before, *after]))
    if vectors.ndim != 2 or len(vectors) != 2 * len(after):
        raise ValueError(f"embed gave {list(vectors.shape)} for {2 * len(after)} texts: it has to give [texts, d]")
    first, second = vectors.double().split(len(after))
    cosines = torch.cosine_similarity(first, second, dim=-1).tolist()
    return [cosine if text.strip() else math.nan for cosine, text in zip(cosines, after, strict=True)]
