"""Over-generate and rerank: candidates of a prefix, best first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast, overload

from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from counterpoint.decoders.hf.outputs import ModelOutput
from counterpoint.rankers.base import Ranker, Texts, check_texts
from counterpoint.rankers.candidate_texts import check_continuations, generated_texts, given_texts
from counterpoint.rankers.served_outputs import ServedOutput, as_served, served_prefix, served_texts

Candidates = (
    Texts
    | Sequence[Texts]
    | Sequence[Mapping[str, str]]
    | Sequence[Sequence[Mapping[str, str]]]
    | Int[Tensor, "rows length"]
    | ModelOutput
)


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
    eos_token_id: int | Sequence[int] | None = None,
) -> Reranked: ...
@overload
def rerank(
    ranker: Ranker,
    prefixes: Sequence[str],
    candidates: Candidates,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    prompt_length: int | None = None,
    eos_token_id: int | Sequence[int] | None = None,
) -> list[Reranked]: ...
@overload
def rerank(
    ranker: Ranker,
    prefixes: ServedOutput,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    eos_token_id: int | Sequence[int] | None = None,
) -> Reranked: ...
@overload
def rerank(
    ranker: Ranker,
    prefixes: Sequence[ServedOutput],
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    eos_token_id: int | Sequence[int] | None = None,
) -> list[Reranked]: ...
def rerank(
    ranker: Ranker,
    prefixes: str | Sequence[str] | ServedOutput | Sequence[ServedOutput],
    candidates: Candidates | None = None,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    prompt_length: int | None = None,
    eos_token_id: int | Sequence[int] | None = None,
) -> Reranked | list[Reranked]:
    """Order the candidates of each prefix by s(prefix, candidate), the best first.

    With samples of a language model this is over-generation and reranking: Krishna et al., *RankGen: Improving Text Generation with
    Large Ranking Models* (2022, arXiv 2205.09726), table 3; they take 20. The language model's probability plays no part in it.

    Equal candidates are all kept; rankers that score each by itself read them once. Of equal scores the earlier text is first.

    Args:
        ranker: The ranker that scores them.
        prefixes: One text, or several; or, without candidates, what an engine returned, which has both: vLLM's ``RequestOutput``,
            or a list of them.
        candidates: Continuations, as they follow the prefix's text: for one prefix a list of texts; for several a list of lists, or
            one list with as many in a row for each. Or what a text generation pipeline returned, whose ``generated_text`` may
            begin with the prefix. Or what ``generate`` returned, with ``num_return_sequences`` or beams: ids ``[rows, length]``
            or the output object, as many rows for each prefix in order. Of ids the prompt, padding, special tokens and all from
            the end of text on are left out; texts that are then empty come last, with a score of -inf.
        tokenizer: The language model's, for ids. With it, rankers that have the same one read an engine's tokens, not its texts.
        prompt_length: For ids, how many of each row are the prompt: ``input_ids.shape[1]`` of what was given to ``generate``, or 0
            for an encoder-decoder model, whose output does not repeat it.
        eos_token_id: For ids, what ends a text: ``model.generation_config.eos_token_id``, one id or several; None is the
            tokenizer's.

    Returns:
        A :class:`Reranked`, or a list of them if ``prefixes`` is a list.

    Raises:
        ValueError: For a number of candidates that cannot be shared out; for texts that are empty; for ids without ``tokenizer`` or
            ``prompt_length``, or with a ``prompt_length`` at which the prefix does not end; for candidates that all begin with
            their prefix; and what the ranker refuses.

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
    if candidates is None:
        served = as_served(prefixes)
        found = in_order(
            ranker,
            [served_prefix(each, tokenizer) for each in served],
            [served_texts(each, tokenizer, eos_token_id) for each in served],
        )
        return found[0] if isinstance(prefixes, ServedOutput) else found
    if isinstance(prefixes, str):
        (only,) = rerank(
            ranker, [prefixes], candidates, tokenizer=tokenizer, prompt_length=prompt_length, eos_token_id=eos_token_id
        )
        return only
    prefixes = cast("Sequence[str]", prefixes)
    kept: Sequence[Tensor] | None = None
    if isinstance(candidates, ModelOutput):
        searched = candidates.get("beam_indices") is not None  # whose logits are of beams, not of texts
        kept = None if searched else candidates.get("logits")
        candidates = cast(Tensor, candidates["sequences"])
    if isinstance(candidates, Tensor):
        return in_order(ranker, prefixes, generated_texts(prefixes, candidates, tokenizer, prompt_length, eos_token_id, kept))
    texts = given_texts(prefixes, candidates)
    for index, (prefix, own) in enumerate(zip(prefixes, texts, strict=True)):
        check_continuations(index, prefix, own)
        check_texts(f"candidates[{index}]", own)
    return in_order(ranker, prefixes, texts)


def in_order(ranker: Ranker, prefixes: Texts, texts: Sequence[Texts]) -> list[Reranked]:
    """The texts of each prefix by falling score; those that are empty come last."""
    scored = [[text for text in own if text.strip()] for own in texts]
    scores = [iter(own.tolist()) for own in ranker.score(prefixes, scored)]
    return [
        best_first(prefix, own, [next(found) if text.strip() else -math.inf for text in own])
        for prefix, own, found in zip(prefixes, texts, scores, strict=True)
    ]


def best_first(prefix: str, texts: Texts, scores: Sequence[float]) -> Reranked:
    """The texts by falling score."""
    order = sorted(range(len(texts)), key=lambda index: -scores[index])
    return Reranked(prefix, tuple(texts[index] for index in order), tuple(scores[index] for index in order), tuple(order))
