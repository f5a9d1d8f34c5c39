"""A batch of prompts, continued by a decoder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from counterpoint.decoders.forwards.ragged import padded
from counterpoint.eval import building
from counterpoint.eval.bench.passages import Passage
from counterpoint.eval.bench.row_sampling import row_sampling
from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.loading import Loaded
from counterpoint.rankers.continuation_texts import continuation_text, end_of, prompt_text


@dataclass(frozen=True)
class Continuation:
    """What a decoder wrote after a prompt."""

    text: str
    tokens: int
    """The end-of-text token among them."""
    finished: bool
    """Whether the text came to its end, rather than to the most tokens it may have."""


def continue_batch(
    loaded: Loaded, spec: DecoderSpec, passages: Sequence[Passage], seed: int, max_new_tokens: int, **options: Any
) -> list[Continuation]:
    """A continuation of each prompt; ``options`` are for ``generate``.

    It does not depend on the others but for rounding; under a ranked decoder it does, whose prompts are to be continued alone.
    """
    width = max(len(passage.ids) for passage in passages)
    output = generate(loaded, spec, passages, seed, max_new_tokens, **options)
    config: Any = loaded.model.generation_config
    found = []
    for passage, row in zip(passages, output[:, width:].tolist(), strict=True):
        end = end_of(row, config.eos_token_id)
        new = row[:end]
        found.append(Continuation(continuation_text(loaded.tokenizer, passage.ids, new), len(new), end is not None))
    return found


def generate(
    loaded: Loaded, spec: DecoderSpec, passages: Sequence[Passage], seed: int, max_new_tokens: int, **options: Any
) -> Tensor:
    """The ids of prompts, padded on the left, and of what follows them."""
    model: Any = loaded.model
    texts = [prompt_text(loaded.tokenizer, passage.ids) for passage in passages]
    arguments = building.generate_arguments(spec, loaded, texts)
    if spec.row.kind == "callable":
        torch.manual_seed(row_seed(seed, passages[0]))
    elif spec.sampling:
        arguments |= {"custom_generate": row_sampling, "row_seeds": [row_seed(seed, passage) for passage in passages]}
    found: Tensor = model.generate(
        **prompt_batch(passages, model.device),
        max_new_tokens=max_new_tokens,
        **arguments,
        **options,
    )
    return found


def prompt_batch(passages: Sequence[Passage], device: torch.device) -> dict[str, Tensor]:
    """The prompts' tokens, padded on the left."""
    ids, mask = padded([passage.ids for passage in passages], side="left", device=device)
    return {"input_ids": ids, "attention_mask": mask}


def row_seed(seed: int, passage: Passage) -> int:
    """Of a text's random numbers: the same for all decoders, whose differences are then the decoders' own."""
    digest = hashlib.sha256(f"{seed} {passage.index} {list(passage.ids)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # generators take 63 bits on every device
