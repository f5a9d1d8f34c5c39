"""Over-generate and rerank: candidates of a prefix, best first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast, overload

from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from counterpoint.decoders.forwards.encoding import encode_prompt
from counterpoint.decoders.hf.outputs import ModelOutput
from counterpoint.rankers.base import Ranker, Texts
from counterpoint.rankers.continuation_texts import GeneratedText, end_of, prompt_text

Candidates = (
    Texts
    | Sequence[Texts]
    | Sequence[Mapping[str, str]]
    | Sequence[Sequence[Mapping[str, str]]]
    | Int[Tensor, "rows length"]
    | ModelOutput
)


Shared = TypeVar("Shared")


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
def rerank(
    ranker: Ranker,
    prefixes: str | Sequence[str],
    candidates: Candidates,
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
        prefixes: One text, or several.
        candidates: Continuations, as they follow the prefix's text: for one prefix a list of texts; for several a list of lists, or
            one list with as many in a row for each. Or what a text generation pipeline returned, whose ``generated_text`` may
            begin with the prefix. Or what ``generate`` returned, with ``num_return_sequences`` or beams: ids ``[rows, length]``
            or the output object, as many rows for each prefix in order. Of ids the prompt, padding, special tokens and all from
            the end of text on are left out; texts that are then empty come last, with a score of -inf.
        tokenizer: The language model's, for ids.
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
    if isinstance(prefixes, str):
        (only,) = rerank(
            ranker, [prefixes], candidates, tokenizer=tokenizer, prompt_length=prompt_length, eos_token_id=eos_token_id
        )
        return only
    kept: Sequence[Tensor] | None = None
    if isinstance(candidates, ModelOutput):
        searched = candidates.get("beam_indices") is not None  # whose logits are of beams, not of texts
        kept = None if searched else candidates.get("logits")
        candidates = cast(Tensor, candidates["sequences"])
    if isinstance(candidates, Tensor):
        texts = generated_texts(prefixes, candidates, tokenizer, prompt_length, eos_token_id, kept)
        scored = [[text for text in own if text.strip()] for own in texts]
    else:
        texts = scored = given_texts(prefixes, candidates)
        for index, (prefix, own) in enumerate(zip(prefixes, texts, strict=True)):
            check_continuations(index, prefix, own)
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
    prefixes: Texts,
    ids: Int[Tensor, "rows length"],
    tokenizer: PreTrainedTokenizerBase | None,
    prompt_length: int | None,
    eos_token_id: int | Sequence[int] | None,
    logits: Sequence[Float[Tensor, "rows vocabulary"]] | None = None,
) -> list[list[str]]:
    """What ``generate`` added to each prefix, row by row, up to the end of text, with the logits of every step if it kept them."""
    if tokenizer is None:
        raise ValueError("candidates are ids, and tokenizer=None cannot read them; pass the language model's tokenizer")
    if prompt_length is None:
        raise ValueError(
            "candidates are ids, and prompt_length=None does not say where the prompt in them ends; pass input_ids.shape[1] of "
            "what generate was given, or 0 for an encoder-decoder model"
        )
    if not 0 <= prompt_length <= ids.shape[1]:
        raise ValueError(f"prompt_length={prompt_length}: the rows of candidates are of {ids.shape[1]} ids, prompt included")
    ends = tokenizer.eos_token_id if eos_token_id is None else eos_token_id
    started = 0 if prompt_length else 1  # an encoder-decoder's first token starts the decoder, with the end of text in some models
    found: list[list[str]] = []
    for index, (prefix, rows) in enumerate(zip(prefixes, shared_out(ids.tolist(), len(prefixes)), strict=True)):
        own = encode_prompt(tokenizer, prefix)
        texts: list[str] = []
        for place, row in enumerate(rows, index * len(rows)):
            prompt, new = row[:prompt_length], row[prompt_length:]
            end = end_of(new[started:], ends)
            new = new if end is None else new[: started + end - 1]
            read = bool(own) and prompt[-len(own) :] == own  # and what is before is padding
            kept = None if logits is None else [step[place] for step in logits[: len(new) - started]]
            texts.append(GeneratedText(tokenizer, own if read else prompt, new, logits=kept, read=read))
        before = prompt_text(tokenizer, rows[0][:prompt_length]) if rows else ""
        if before.strip():
            check_prompt_length(prefix, before, prompt_length)
        else:
            check_continuations(index, prefix, texts)
        found.append(texts)
    return found


def check_prompt_length(prefix: str, read: str, prompt_length: int) -> None:
    """Refuse a length at which the ids of the prompt are part of the prefix, or the prefix and more.

    Another text, such as a chat template's around the prefix, is nothing to be compared with.
    """
    wanted, found = (" ".join(text.split()).casefold() for text in (prefix, read))
    if wanted != found and (wanted.startswith(found) or found.startswith(wanted)):
        raise ValueError(
            f"prompt_length={prompt_length}: so many ids of a candidate are {read!r}, and the prefix is {prefix!r}; pass "
            "input_ids.shape[1] of what generate was given"
        )


def given_texts(prefixes: Texts, candidates: Any) -> list[list[str]]:
    """Texts as one list for each prefix."""
    if isinstance(candidates, str):
        raise TypeError("candidates is one string; pass a list of texts")
    flat = [each for each in candidates if isinstance(each, str | Mapping)]
    if flat and len(flat) < len(candidates):
        raise ValueError("candidates mixes texts and lists of texts; pass one or the other")
    if flat:
        lists = shared_out(flat, len(prefixes))
    elif len(candidates) == 0 and len(prefixes) == 1:
        lists = [[]]
    elif len(candidates) != len(prefixes):
        raise ValueError(
            f"candidates: {len(candidates)} lists for {len(prefixes)} prefixes; pass one list of texts for each prefix"
        )
    else:
        lists = [list(own) for own in candidates]
    return [
        [each if isinstance(each, str) else piped(prefix, each) for each in own]
        for prefix, own in zip(prefixes, lists, strict=True)
    ]


def piped(prefix: str, record: Mapping[str, Any]) -> str:
    """The text of a record of a text generation pipeline, without the prefix."""
    text = record.get("generated_text")
    if not isinstance(text, str):
        raise ValueError(f"candidates: {dict(record)!r} has no text under 'generated_text', as a text generation pipeline's has")
    return text.removeprefix(prefix)


def check_continuations(index: int, prefix: str, texts: Texts) -> None:
    """Refuse candidates that all repeat their prefix: whole texts, of which a ranker would judge the prefix twice."""
    if prefix.strip() and texts and all(text.startswith(prefix) for text in texts):
        raise ValueError(
            f"candidates[{index}] all begin with their prefix, {prefix!r}: pass what follows it (text.removeprefix(prefix), or for "
            "ids of a decoder-only model prompt_length=input_ids.shape[1])"
        )


def shared_out(texts: list[Shared], prefixes: int) -> list[list[Shared]]:
    """Divide the texts among the prefixes, as many for each, in order."""
    each, rest = divmod(len(texts), max(prefixes, 1))
    if rest or not prefixes:
        raise ValueError(f"candidates: {len(texts)} for {prefixes} prefixes; pass as many for each, or a list of lists")
    return [texts[index * each : (index + 1) * each] for index in range(prefixes)]
