"""Texts as tokens, and batches of them that share as much as they can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders.forwards.chats import Chat, Prompt
from counterpoint.decoders.forwards.encoding import Encoded, encode_pair
from counterpoint.decoders.forwards.given_texts import GivenTexts, PrefixTree
from counterpoint.decoders.hf.configuration import context_length, decoder_beginning

Inputs = Mapping[str, Tensor]
"""What a processor makes of one prompt: its tokens, and the pictures that stand in it."""


def encode(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, prompt: Any, continuations: Sequence[Any]
) -> list[Encoded]:
    """Tokens of a prompt and of each continuation, without one that the generation configuration forces a decoder to begin with.

    Raises:
        ValueError: If one has none, or both do not fit in the model's context.
    """
    forced = decoder_beginning(model)[1:]
    pairs = [
        (before, after[len(forced) :] if after[: len(forced)] == forced else after)  # a row of ``generate`` begins with it
        for before, after in (encoded(model, tokenizer, prompt, continuation) for continuation in continuations)
    ]
    room = context_length(model)
    for (before, after), continuation in zip(pairs, continuations, strict=True):
        if not before or not after:
            raise ValueError(f"prompt {prompt!r} with continuation {continuation!r}: at least one token is needed on both sides")
        together = max(len(before), len(after)) if model.config.is_encoder_decoder else len(before) + len(after) - 1
        if room is not None and together > room:
            raise ValueError(
                f"a prompt and continuation of {len(before)} + {len(after)} tokens exceed the model's context of {room}"
            )
    return pairs


def encoded(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    prompt: Prompt | Sequence[int] | Inputs,
    continuation: str | Sequence[int],
) -> Encoded:
    """Tokens of a prompt and its continuation; ids stay as they are, without padding after an end of text.

    A chat is what its template writes, and a processor's output has its tokens.
    """
    if isinstance(prompt, Mapping):
        prompt = tokens_of_inputs(prompt)
        if isinstance(continuation, str):
            return encoded_after(tokenizer, prompt, continuation)
    if isinstance(prompt, Chat) and tokenizer is not None and isinstance(continuation, str):
        return encode_pair(tokenizer, prompt.text(tokenizer), continuation, from_template=True)
    if not isinstance(prompt, str | Chat) and not isinstance(continuation, str):
        return tuple(map(int, prompt)), without_padding(model.generation_config, list(map(int, continuation)))
    if tokenizer is None or not isinstance(prompt, str) or not isinstance(continuation, str):
        raise ValueError("prompts and continuations are both text, with tokenizer=, or both tokens")
    return encode_pair(tokenizer, prompt, continuation, is_encoder_decoder=bool(model.config.is_encoder_decoder))


def tokens_of_inputs(inputs: Inputs) -> tuple[int, ...]:
    """The tokens of a processor's output, without padding.

    Raises:
        ValueError: If it is of several prompts.
    """
    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    if len(ids) != 1:
        raise ValueError(f"a prompt has {len(ids)} rows: give score() a processor's output of one prompt each")
    return tuple(map(int, ids[0] if mask is None else ids[0][mask[0].bool()]))


def encoded_after(tokenizer: PreTrainedTokenizerBase | None, prompt: tuple[int, ...], continuation: str) -> Encoded:
    """The tokens of a prompt with pictures and of the text that follows it, tokenised together with the prompt's last words.

    Raises:
        ValueError: Without a tokenizer, or if the last words' tokens are others before the continuation.
    """
    if tokenizer is None:
        raise ValueError("continuations of a processor's output are tokens, or texts with tokenizer=")
    special = set(tokenizer.all_special_ids)
    start = max((place + 1 for place, token in enumerate(prompt) if token in special), default=0)
    last = str(tokenizer.decode(list(prompt[start:])))
    before, after = encode_pair(tokenizer, last, continuation, from_template=True)
    if list(before) != list(prompt[start:]):
        raise ValueError(
            f"continuation {continuation!r} joins with the prompt's last words {last!r} in one token; give it as tokens"
        )
    return prompt, after


def without_padding(config: Any, tokens: list[int]) -> tuple[int, ...]:
    """Tokens up to a first end of text after which there is nothing but padding, as in a row of ``generate``."""
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    end = next((place for place, token in enumerate(tokens, 1) if token in ends), len(tokens))
    return tuple(tokens[:end] if set(tokens[end:]) <= {config.pad_token_id, *ends} else tokens)


def batches(
    texts: Sequence[tuple[int, tuple[int, ...], tuple[int, ...]]],
    number_of_prompts: int,
    start: tuple[int, ...],
    batch_tokens: int,
    beside: Sequence[Inputs] = (),
) -> Iterator[GivenTexts]:
    """Texts whose tree has about ``batch_tokens`` tokens besides its trunk; a prompt's stay together unless they are many."""
    batch: list[tuple[int, tuple[int, ...], tuple[int, ...]]] = []
    tree = PrefixTree()
    for index, text in enumerate(texts):
        batch.append(text)
        tree.add((*text[1], *text[2][:-1]))
        ends = index + 1 == len(texts)
        load = len(tree.tokens) - tree.trunk
        complete = ends or texts[index + 1][0] != text[0]
        if ends or load >= (batch_tokens if complete else 4 * batch_tokens):
            numbers, prompts, continuations = zip(*batch, strict=True)
            yield GivenTexts(prompts, continuations, numbers, number_of_prompts, start, beside)
            batch, tree = [], PrefixTree()
