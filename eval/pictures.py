"""Chats with images, as an image-text model's processor makes inputs of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import AutoProcessor

from counterpoint.decoders.forwards.chats import Chat, parts_of
from counterpoint.eval.loading import Loaded, takes_pictures
from counterpoint.eval.prompts import picture_place


def with_pictures(loaded: Loaded, chat: Chat) -> tuple[list[int], dict[str, Tensor]]:
    """The chat's tokens, and what else the model takes of its images.

    Raises:
        ValueError: If the model takes none, or its processor cannot be loaded or refuses the chat.
    """
    if not takes_pictures(loaded.model.config):
        raise ValueError(f"a prompt has an image, and {loaded.name} ({loaded.model.config.model_type}) reads text alone")
    processor: Any = loaded.keep("processor", lambda: load_processor(loaded))
    messages = [{**each, "content": [located(part) for part in parts_of(each["content"])]} for each in chat.messages]
    try:
        inputs = processor.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True, **chat.options
        )
    except Exception as error:  # of any kind: of a template, of images, of a processor
        raise ValueError(f"the processor of {loaded.name} refuses a chat with images: {error}") from error
    inputs = inputs.to(loaded.model.device, dtype=loaded.model.dtype)  # of floating numbers alone
    ids = inputs.pop("input_ids")[0].tolist()
    inputs.pop("attention_mask", None)
    return ids, dict(inputs)


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


def located(part: Any) -> Any:
    """A part as processors know it: an image of a file has it under "path" or "url"."""
    place = picture_place(part) if part.get("type") == "image" else None
    if place is None:
        return part
    return {"type": "image", "url" if "://" in place else "path": place}
