"""Chats with images, as an image-text model's processor makes inputs of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoProcessor

from counterpoint.decoders.choosing.pictures import picture_inputs
from counterpoint.decoders.forwards.chats import Chat, Prompt
from counterpoint.eval.loading import Loaded, takes_pictures


def with_pictures(loaded: Loaded, chat: Chat) -> tuple[list[int], dict[str, Tensor]]:
    """The chat's tokens, and what else the model takes of its images.

    Raises:
        ValueError: If the model takes none, or its processor cannot be loaded or refuses the chat.
    """
    if not takes_pictures(loaded.model.config):
        raise ValueError(f"a prompt has an image, and {loaded.name} ({loaded.model.config.model_type}) reads text alone")
    try:
        inputs = picture_inputs(processor_of(loaded), chat, loaded.model)
    except ValueError as error:
        raise ValueError(f"model {loaded.name}: {error}") from error
    ids = inputs.pop("input_ids")[0].tolist()
    inputs.pop("attention_mask", None)
    return ids, inputs


def scored_prompts(loaded: Loaded, prompts: Sequence[Prompt]) -> list[Any]:
    """Prompts as texts are scored after them: chats with images are their processor's outputs."""
    return [scored_prompt(loaded, each) if isinstance(each, Chat) and each.pictures else each for each in prompts]


def scored_prompt(loaded: Loaded, chat: Chat) -> dict[str, Tensor]:
    """A processor's output of a chat with images."""
    ids, inputs = with_pictures(loaded, chat)
    return {"input_ids": torch.tensor([ids]), **inputs}


def processor_of(loaded: Loaded) -> Any:
    """The processor beside the model, loaded once."""
    return loaded.keep("processor", lambda: load_processor(loaded))


def load_processor(loaded: Loaded) -> Any:
    """The processor beside the model, with the template that is used for texts."""
    try:
        local = Path(loaded.name).is_dir()
        processor = AutoProcessor.from_pretrained(loaded.name, trust_remote_code=loaded.trust_remote_code, local_files_only=local)
    except Exception as error:  # of any kind: of a missing file, a missing package
        raise ValueError(f"a prompt has an image, and the processor of {loaded.name} cannot be loaded: {error}") from error
    if loaded.tokenizer.chat_template:
        processor.chat_template = loaded.tokenizer.chat_template
    return processor
