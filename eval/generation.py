"""One prompt, one decoder: the text, handed on as it is produced."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from counterpoint.decoders.forwards.encoding import encode_prompt
from counterpoint.decoders.hf.configuration import context_length
from counterpoint.decoders.hf.outputs import BaseStreamer
from counterpoint.eval import building
from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.loading import Loaded
from counterpoint.eval.metrics.repetition import diversity, rep_n
from counterpoint.rankers.continuation_texts import continuation_text, prompt_text
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
        words = len(self.text.split())
        measures: dict[str, float | None] = {"tokens_per_second": self.tokens / self.seconds}
        for n in (2, 3, 4):
            measures[f"rep_{n}"] = rep_n([self.text], n) if words >= n else None
        return {**measures, "diversity": diversity([self.text]) if words >= 4 else None}


def encode(loaded: Loaded, prompt: str, max_new_tokens: int) -> list[int]:
    """The prompt's tokens.

    Raises:
        ValueError: If there are none, or not enough room after them in the model's context.
    """
    ids = encode_prompt(loaded.tokenizer, prompt, is_encoder_decoder=bool(loaded.model.config.is_encoder_decoder))
    if not ids:
        raise ValueError(f"the prompt {prompt!r} has no tokens in the vocabulary of {loaded.name}")
    context = context_length(loaded.model)
    if context is not None and len(ids) + max_new_tokens > context:
        room = context - len(ids)
        way_out = f"take max_new_tokens={room} or a shorter prompt" if room > 0 else "shorten the prompt"
        raise ValueError(
            f"a prompt of {len(ids)} tokens and max_new_tokens={max_new_tokens} exceed the model's context of {context}: {way_out}"
        )
    return ids


def generate(loaded: Loaded, prompt: list[int], max_new_tokens: int, seed: int, spec: DecoderSpec, emit: Emit) -> Generated:
    """Continue a prompt with a decoder.

    Args:
        loaded: The model.
        prompt: Its tokens for the prompt.
        max_new_tokens: The most tokens of the continuation.
        seed: Seed of the random numbers, set anew for every text.
        spec: The decoder.
        emit: Gets the text in pieces as they are known, or in one if the decoder cannot stream.

    Raises:
        ValueError: If the decoder refuses the model or the parameters.
    """
    stream, ranked = TextStream(loaded.tokenizer, prompt, emit), "ranker" in spec.row.needs
    input_ids = torch.tensor([prompt], device=loaded.model.device)
    torch.manual_seed(seed)
    start = time.perf_counter()
    text = prompt_text(loaded.tokenizer, prompt)
    arguments = building.generate_arguments(spec, loaded, [text])
    try:
        output: Any = loaded.model.generate(  # type: ignore[operator]
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            streamer=stream if spec.row.streams else None,
            max_new_tokens=max_new_tokens,
            return_dict_in_generate=ranked,
            **arguments,
        )
    except ValueError as error:
        raise ValueError(f"decoder {spec}: {error}") from error
    seconds = time.perf_counter() - start
    if ranked:
        return best_of_tree(loaded, spec, prompt, output.tree[0][-1], seconds)
    new = output[0, len(prompt) :].tolist()
    text = continuation_text(loaded.tokenizer, prompt, new, all_of_it=True)
    if not spec.row.streams:
        emit(text)
    return Generated(text, len(new), seconds)


def best_of_tree(
    loaded: Loaded, spec: DecoderSpec, prompt: list[int], candidates: Sequence[Candidate], seconds: float
) -> Generated:
    """The best of a ranker's last candidates, with all of them in its details."""
    best = candidates[0]
    details = {
        "ranker": " ".join(str(each) for each in spec.nested() if each.row.kind_of_name == "ranker"),
        "candidates": [each.text for each in candidates],
        "scores": [each.score if each.text.strip() else None for each in candidates],
    }
    return Generated(continuation_text(loaded.tokenizer, prompt, best.tokens, all_of_it=True), len(best.tokens), seconds, details)


class TextStream(BaseStreamer):
    """Hands text on as ``generate`` produces it, in pieces whose sum is the whole text's decoding."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: list[int], emit: Emit) -> None:
        self.tokenizer = tokenizer
        self.prompt = prompt
        self.emit = emit
        self.received: list[int] = []
        self.emitted = 0

    def put(self, value: Tensor) -> None:
        """Take the prompt, then token after token."""
        self.received += value.flatten().tolist()
        self.hand_on(all_of_it=False)

    def end(self) -> None:
        """What was held back is part of a character that was never completed."""
        self.hand_on(all_of_it=True)

    def hand_on(self, all_of_it: bool) -> None:
        """Emit what is new in the text."""
        text = continuation_text(self.tokenizer, self.prompt, self.received[len(self.prompt) :], all_of_it=all_of_it)
        if len(text) > self.emitted:
            self.emit(text[self.emitted :])
            self.emitted = len(text)
