"""One prompt, one decoder: the text, handed on as it is produced."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteriaList, StopStringCriteria

from counterpoint.decoders.forwards.chats import Chat, Prompt
from counterpoint.decoders.forwards.encoding import encode_prompt
from counterpoint.decoders.hf.configuration import context_length
from counterpoint.decoders.hf.outputs import BaseStreamer
from counterpoint.eval import building
from counterpoint.eval.chat import Named
from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.loading import Loaded
from counterpoint.eval.metrics.repetition import diversity, rep_n
from counterpoint.eval.pictures import with_pictures
from counterpoint.eval.trimming import WHOLE, Trimming, before_any, trim_tokens
from counterpoint.rankers.continuation_texts import continuation_text, prompt_text
from counterpoint.rankers.ngrams import words
from counterpoint.rankers.search.beams import Candidate

Emit = Callable[[str], object]


@dataclass(frozen=True)
class Generated:
    """A continuation and what it took."""

    text: str
    tokens: int
    seconds: float
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else there is to say of it in JSON."""

    def measures(self) -> dict[str, float | None]:
        """Tokens a second, rep-n and diversity as fractions; None where the text has too few words."""
        length = len(words(self.text))
        measures: dict[str, float | None] = {"tokens_per_second": self.tokens / self.seconds}
        for n in (2, 3, 4):
            measures[f"rep_{n}"] = rep_n([self.text], n) if length >= n else None
        return {**measures, "diversity": diversity([self.text]) if length >= 4 else None}


@dataclass(frozen=True)
class Request:
    """A prompt as a model reads it, and where what follows is cut."""

    prompt: Prompt
    """For decoders that put other texts before it."""
    ids: tuple[int, ...]
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    """What else the model takes: images."""
    trimming: Trimming = WHOLE


def encode(loaded: Loaded, prompt: Prompt, max_new_tokens: int) -> list[int]:
    """The tokens of a text, or of a chat without images.

    Raises:
        ValueError: If there are none, or not enough room after them in the model's context; or for a chat that its template
            refuses.
    """
    if isinstance(prompt, Chat):
        ids = in_template(loaded, prompt)
    else:
        ids = encode_prompt(loaded.tokenizer, prompt, is_encoder_decoder=bool(loaded.model.config.is_encoder_decoder))
    if not ids:
        raise ValueError(f"the prompt {prompt!r} has no tokens in the vocabulary of {loaded.name}")
    check_room(loaded, len(ids), max_new_tokens)
    return ids


def check_room(loaded: Loaded, tokens: int, max_new_tokens: int) -> None:
    """Refuse a prompt after which the model's context has not enough room.

    Raises:
        ValueError: With the way out.
    """
    check_context(context_length(loaded.model), tokens, max_new_tokens)


def check_context(context: int | None, tokens: int, max_new_tokens: int) -> None:
    """The same for a context of so many tokens, None if it is not known.

    Raises:
        ValueError: With the way out.
    """
    if context is not None and tokens + max_new_tokens > context:
        room = context - tokens
        way_out = f"take max_new_tokens={room} or a shorter prompt" if room > 0 else "shorten the prompt"
        raise ValueError(
            f"a prompt of {tokens} tokens and max_new_tokens={max_new_tokens} exceed the model's context of {context}: {way_out}"
        )


def request(loaded: Loaded, prompt: Prompt, max_new_tokens: int, trimming: Trimming = WHOLE) -> Request:
    """The prompt's tokens and images, and where what follows is cut.

    Raises:
        ValueError: As for :func:`encode`, and for images that the model does not take.
    """
    if not isinstance(prompt, Chat) or not prompt.pictures:
        return Request(prompt, tuple(encode(loaded, prompt, max_new_tokens)), trimming=trimming)
    ids, inputs = with_pictures(loaded, prompt)
    check_room(loaded, len(ids), max_new_tokens)
    return Request(prompt, tuple(ids), inputs, trimming)


def in_template(loaded: Named, chat: Chat) -> list[int]:
    """A chat's tokens."""
    try:
        return chat.ids(loaded.tokenizer)
    except ValueError as error:
        raise ValueError(f"model {loaded.name}: {error}") from error


def generate(
    loaded: Loaded, prompt: Request | Sequence[int], max_new_tokens: int, seed: int, spec: DecoderSpec, emit: Emit
) -> Generated:
    """Continue a prompt with a decoder.

    Args:
        loaded: The model.
        prompt: The prompt, or its tokens alone.
        max_new_tokens: The most tokens of the continuation.
        seed: Seed of the random numbers, set anew for every text.
        spec: The decoder.
        emit: Gets the text in pieces as they are known, or in one if the decoder cannot stream or the thinking is cut.

    Raises:
        ValueError: If the decoder refuses the model or the parameters.
    """
    if not isinstance(prompt, Request):
        prompt = Request(prompt_text(loaded.tokenizer, prompt), tuple(prompt))
    trimming = prompt.trimming
    streams = spec.row.streams and trimming.thinking is None
    stream, ranked = TextStream(loaded.tokenizer, prompt.ids, emit, trimming.stop), "ranker" in spec.row.needs
    input_ids = torch.tensor([prompt.ids], device=loaded.model.device)
    torch.manual_seed(seed)
    start = time.perf_counter()
    arguments = building.generate_arguments(spec, loaded, [prompt.prompt])
    try:
        output: Any = loaded.model.generate(  # type: ignore[operator]
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            streamer=stream if streams else None,
            max_new_tokens=max_new_tokens,
            return_dict_in_generate=ranked,
            **prompt.inputs,
            **stopping(loaded, trimming),
            **arguments,
        )
    except ValueError as error:
        raise ValueError(f"decoder {spec}: {error}") from error
    seconds = time.perf_counter() - start
    details = details_of_tree(spec, output.tree[0][-1]) if ranked else {}
    new = list(output.tree[0][-1][0].tokens) if ranked else output[0, len(prompt.ids) :].tolist()
    ends: Any = loaded.model.generation_config
    found = trim_tokens(loaded.tokenizer, prompt.ids, new, ends.eos_token_id, trimming)
    if not streams:
        emit(found.text)
    if trimming.thinking is not None:
        details = {"thinking_text": found.thinking, **details}
    return Generated(found.text, found.tokens, seconds, details)


def stopping(loaded: Loaded, trimming: Trimming) -> dict[str, Any]:
    """What ``generate`` takes to stop at strings; its own ``stop_strings`` do not reach loops of one's own."""
    if not trimming.stop:
        return {}
    return {"stopping_criteria": StoppingCriteriaList([StopStringCriteria(loaded.tokenizer, list(trimming.stop))])}


def details_of_tree(spec: DecoderSpec, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """All of a ranker's last candidates, the best first."""
    return {
        "ranker": " ".join(str(each) for each in spec.nested() if each.row.kind_of_name == "ranker"),
        "candidates": [each.text for each in candidates],
        "scores": [each.score if each.text.strip() else None for each in candidates],
    }


class TextStream(BaseStreamer):
    """Hands text on as ``generate`` produces it, in pieces whose sum is the whole text's decoding up to a stop string."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int], emit: Emit, stop: tuple[str, ...] = ()) -> None:
        self.tokenizer = tokenizer
        self.prompt = list(prompt)
        self.emit = emit
        self.stop = stop
        self.received: list[int] = []
        self.emitted = 0

    def put(self, value: Tensor) -> None:
        """Take the prompt, then token after token."""
        self.received += value.flatten().tolist()
        text = before_any(self.text(all_of_it=False), self.stop)
        self.hand_on(without_beginning(text, self.stop))

    def end(self) -> None:
        """Hand on what was held back: the beginning of no stop string, and part of a character that was never completed."""
        self.hand_on(before_any(self.text(all_of_it=True), self.stop))

    def text(self, all_of_it: bool) -> str:
        """The text so far."""
        return continuation_text(self.tokenizer, self.prompt, self.received[len(self.prompt) :], all_of_it=all_of_it)

    def hand_on(self, text: str) -> None:
        """Emit what is new in the text."""
        if len(text) > self.emitted:
            self.emit(text[self.emitted :])
            self.emitted = len(text)


def without_beginning(text: str, stop: Sequence[str]) -> str:
    """The text without what its end has of the beginning of a stop string."""
    held = max((size for each in stop for size in range(1, len(each)) if text.endswith(each[:size])), default=0)
    return text[: len(text) - held]
