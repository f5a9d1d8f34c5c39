"""Candidates in the forms that people have them, as one list of texts for each prefix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from counterpoint.decoders.forwards.encoding import encode_prompt
from counterpoint.rankers.base import Texts
from counterpoint.rankers.continuation_texts import GeneratedText, end_of, prompt_text

Shared = TypeVar("Shared")


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
