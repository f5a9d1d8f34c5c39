"""Over-generate and rerank: candidates of a prefix, best first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, overload

from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from counterpoint.decoders.hf.outputs import ModelOutput
from counterpoint.rankers.base import Ranker, Texts
from counterpoint.rankers.continuation_texts import continuation_text

Candidates = Texts | Sequence[Texts] | Int[Tensor, "rows length"] | ModelOutput


@dataclass(frozen=True)
class Reranked:
    """The candidates of one prefix, best first."""

    prefix: str
    texts: tuple[str, ...]
    scores: tuple[float, ...]
    """s(prefix, text) of each; -inf for one that is empty."""
    order: tuple[int, ...]
    """Index of each text among the prefix's candidates as they were given."""


@overload
def rerank(  # type: ignore[overload-overlap]  # a text is a sequence of texts to Python
    ranker: Ranker,
    prefixes: str,
    candidates: Candidates,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    prompt_length: int | None = None,
) -> Reranked: ...
@overload
def rerank(
    ranker: Ranker,
    prefixes: Sequence[str],
    candidates: Candidates,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    prompt_length: int | None = None,
) -> list[Reranked]: ...
def rerank(
    ranker: Ranker,
    prefixes: str | Sequence[str],
    candidates: Candidates,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    prompt_length: int | None = None,
) -> Reranked | list[Reranked]:
    """Order the candidates of each prefix by s(prefix, candidate), the best first.

    With samples of a language model this is over-generation and reranking: Krishna et al., *RankGen: Improving Text Generation with
    Large Ranking Models* (2022, arXiv 2205.09726), table 3; they take 20. The language model's probability plays no part in it.

    Equal candidates are all kept; rankers that score each by itself read them once. Of equal scores the earlier text is first.

    Args:
        ranker: The ranker that scores them.
        prefixes: One text, or several.
        candidates: Continuations, as they follow the prefix's text: for one prefix a list of texts; for several a list of lists, or
            one list with as many in a row for each. Or what ``generate`` returned, with ``num_return_sequences`` or beams: ids
            ``[rows, length]`` or the output object, as many rows for each prefix in order. Of ids the prompt, padding, special
            tokens and all from the end of text on are left out; texts that are then empty come last, with a score of -inf.
        tokenizer: The language model's, for ids.
        prompt_length: For ids, how many of each row are the prompt: ``input_ids.shape[1]`` of what was given to ``generate``, or 0
            for an encoder-decoder model, whose output does not repeat it.

    Returns:
        A :class:`Reranked`, or a list of them if ``prefixes`` is a list.

    Raises:
        ValueError: For a number of candidates that cannot be shared out; for texts that are empty; for ids without ``tokenizer`` or
            ``prompt_length``; and what the ranker refuses.

    Example:
        >>> from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
        >>> from counterpoint.rankers import SMALL, OverlapRanker, rerank
        >>> tokenizer = AutoTokenizer.from_pretrained(SMALL)
        >>> sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
        >>> ends = dict(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes, **ends))  # in its place any language model
        >>> prompt = "The captain of the ship looked at the sea."
        >>> inputs = tokenizer(prompt, return_tensors="pt")
        >>> output = model.generate(**inputs, do_sample=True, num_return_sequences=5, max_new_tokens=8)
        >>> found = rerank(OverlapRanker(), prompt, output, tokenizer=tokenizer, prompt_length=inputs.input_ids.shape[1])
        >>> len(found.texts), found.scores[0] == max(found.scores)
        (5, True)
        >>> rerank(OverlapRanker(), "The white whale.", [" It rained.", " A whale!"])
        Reranked(prefix='The white whale.', texts=(' A whale!', ' It rained.'), scores=(1.0, 0.0), order=(1, 0))
    """
    if isinstance(prefixes, str):
        (only,) = rerank(ranker, [prefixes], candidates, tokenizer=tokenizer, prompt_length=prompt_length)
        return only
    if isinstance(candidates, ModelOutput):
        candidates = cast(Tensor, candidates["sequences"])
    if isinstance(candidates, Tensor):
        texts = shared_out(generated_texts(candidates, tokenizer, prompt_length), len(prefixes))
        scored = [[text for text in own if text.strip()] for own in texts]
    else:
        texts = scored = given_texts(candidates, len(prefixes))
    scores = [iter(own.tolist()) for own in ranker.score(prefixes, scored)]
    return [
        best_first(prefix, own, [next(found) if text.strip() else -math.inf for text in own])
        for prefix, own, found in zip(prefixes, texts, scores, strict=True)
    ]


def best_first(prefix: str, texts: Texts, scores: Sequence[float]) -> Reranked:
    """The texts by falling score."""
    order = sorted(range(len(texts)), key=lambda index: -scores[index])
    return Reranked(prefix, tuple(texts[index] for index in order), tuple(scores[index] for index in order), tuple(order))


def generated_texts(
    ids: Int[Tensor, "rows length"], tokenizer: PreTrainedTokenizerBase | None, prompt_length: int | None
) -> list[str]:
    """What ``generate`` added to the prompt, row by row, up to the end of text."""
    if tokenizer is None:
        raise ValueError("candidates are ids, and tokenizer=None cannot read them; pass the language model's tokenizer")
    if prompt_length is None:
        raise ValueError(
            "candidates are ids, and prompt_length=None does not say where the prompt in them ends; pass input_ids.shape[1] of "
            "what generate was given, or 0 for an encoder-decoder model"
        )
    if not 0 <= prompt_length <= ids.shape[1]:
        raise ValueError(f"prompt_length={prompt_length}: the rows of candidates are of {ids.shape[1]} ids, prompt included")
    start = max(prompt_length, 1)  # an encoder-decoder's first token starts the decoder, with the end of text in some models
    texts = []
    for row in ids.tolist():
        end = row.index(tokenizer.eos_token_id, start) if tokenizer.eos_token_id in row[start:] else len(row)
        texts.append(continuation_text(tokenizer, row[:prompt_length], row[prompt_length:end]))
    return texts


def given_texts(candidates: Texts | Sequence[Texts], prefixes: int) -> list[list[str]]:
    """Texts as one list for each prefix."""
    if isinstance(candidates, str):
        raise TypeError("candidates is one string; pass a list of texts")
    flat = [text for text in candidates if isinstance(text, str)]
    if flat and len(flat) < len(candidates):
        raise ValueError("candidates mixes texts and lists of texts; pass one or the other")
    if flat:
        return shared_out(flat, prefixes)
    if len(candidates) == 0 and prefixes == 1:
        return [[]]
    return [list(texts) for texts in candidates]


def shared_out(texts: list[str], prefixes: int) -> list[list[str]]:
    """Divide the texts among the prefixes, as many for each, in order."""
    each, rest = divmod(len(texts), max(prefixes, 1))
    if rest or not prefixes:
        raise ValueError(f"candidates: {len(texts)} for {prefixes} prefixes; pass as many for each, or a list of lists")
    return [texts[index * each : (index + 1) * each] for index in range(prefixes)]
