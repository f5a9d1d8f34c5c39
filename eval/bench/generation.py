"""A batch of prompts, continued by a decoder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from counterpoint.decoders.forwards.chats import Chat, Prompt
from counterpoint.decoders.forwards.ragged import padded
from counterpoint.eval import building
from counterpoint.eval.bench.passages import Passage
from counterpoint.eval.bench.row_sampling import row_sampling
from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.engines.served import AnyModel, Served
from counterpoint.eval.engines.writing import continue_request
from counterpoint.eval.generation import Request, stopping
from counterpoint.eval.loading import Loaded
from counterpoint.eval.trimming import TrimmedText, Trimming, trim_tokens
from counterpoint.rankers.continuation_texts import prompt_text


def continue_batch(
    loaded: AnyModel, spec: DecoderSpec, passages: Sequence[Passage], seed: int, max_new_tokens: int, **options: Any
) -> list[TrimmedText]:
    """A continuation of each prompt; ``options`` are for ``generate``.

    It does not depend on the others but for rounding; under a ranked decoder it does, whose prompts are to be continued alone.
    """
    if isinstance(loaded, Served):
        return [continue_served(loaded, spec, passage, seed, max_new_tokens) for passage in passages]
    width = max(len(passage.ids) for passage in passages)
    output = generate(loaded, spec, passages, seed, max_new_tokens, **options)
    config: Any = loaded.model.generation_config
    return [
        trim_tokens(loaded.tokenizer, passage.ids, row, config.eos_token_id, trimming_of(passage))
        for passage, row in zip(passages, output[:, width:].tolist(), strict=True)
    ]


def continue_served(served: Served, spec: DecoderSpec, passage: Passage, seed: int, max_new_tokens: int) -> TrimmedText:
    """A continuation by a server."""
    request = passage.request or Request(passage.prompt, passage.ids, trimming=WHOLE_CHARACTERS)
    return continue_request(served, spec, request, row_seed(seed, passage), max_new_tokens)[0]


WHOLE_CHARACTERS = Trimming(all_of_it=False)


def trimming_of(passage: Passage) -> Trimming:
    """Where what follows a prompt is cut."""
    return passage.request.trimming if passage.request else WHOLE_CHARACTERS


def prompt_of(loaded: Loaded, passage: Passage) -> Prompt:
    """What decoders put other texts before: the chat, or the text that the tokens are."""
    if passage.request and isinstance(passage.request.prompt, Chat):
        return passage.request.prompt
    return prompt_text(loaded.tokenizer, passage.ids)


def generate(
    loaded: Loaded, spec: DecoderSpec, passages: Sequence[Passage], seed: int, max_new_tokens: int, **options: Any
) -> Tensor:
    """The ids of prompts, padded on the left, and of what follows them."""
    model: Any = loaded.model
    arguments = building.generate_arguments(spec, loaded, [prompt_of(loaded, passage) for passage in passages])
    if spec.row.kind == "callable":
        torch.manual_seed(row_seed(seed, passages[0]))
    elif spec.sampling:
        arguments |= {"custom_generate": row_sampling, "row_seeds": [row_seed(seed, passage) for passage in passages]}
    found: Tensor = model.generate(
        **prompt_batch(passages, model.device),
        **stopping(loaded, trimming_of(passages[0])),
        max_new_tokens=max_new_tokens,
        **arguments,
        **options,
    )
    return found


def prompt_batch(passages: Sequence[Passage], device: torch.device) -> dict[str, Tensor]:
    """The prompts' tokens, padded on the left; or one prompt's with its images."""
    ids, mask = padded([passage.ids for passage in passages], side="left", device=device)
    pictures = passages[0].request.inputs if passages[0].request else {}
    return {"input_ids": ids, "attention_mask": mask, **pictures}


def row_seed(seed: int, passage: Passage) -> int:
    """Of a text's random numbers: the same for all decoders, whose differences are then the decoders' own."""
    digest = hashlib.sha256(f"{seed} {passage.index} {list(passage.ids)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # generators take 63 bits on every device
