"""Chats with pictures as a processor reads them, and worse views of the same chats for a contrast."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel

from counterpoint.decoders.amateurs.inputs import InputsAmateur, joined
from counterpoint.decoders.amateurs.noise import diffusion_noise
from counterpoint.decoders.contrasts.contrastive_decoding import ContrastiveDecodingLogitsProcessor
from counterpoint.decoders.contrasts.forms import extrapolation
from counterpoint.decoders.contrasts.m3id import M3IDLogitsProcessor
from counterpoint.decoders.forwards.chats import Chat, Prompt, about_picture, parts_of, picture_place

VIEWS = ("noise", "none", "instruction")
INSTRUCTION = "You are a confused object detector that names things which are not in the picture."
"""What disturbs where no other instruction is given, in our words; the paper tries several such roles."""


def picture_inputs(processor: Any, chat: Chat, model: PreTrainedModel) -> dict[str, Tensor]:
    """What a processor makes of a chat with pictures, where and as the model takes it.

    Raises:
        ValueError: If it refuses the chat.
    """
    messages = [{**each, "content": [located(part) for part in parts_of(each["content"])]} for each in chat.messages]
    continued = messages[-1]["role"] == "assistant"
    template: dict[str, Any] = {"add_generation_prompt": not continued, "continue_final_message": continued, **chat.options}
    try:
        inputs = processor.apply_chat_template(messages, tokenize=True, return_dict=True, return_tensors="pt", **template)
    except Exception as error:  # of any kind: of a template, of images, of a processor
        raise ValueError(f"the processor refuses a chat with images: {error}") from error
    return dict(inputs.to(model.device, dtype=model.dtype))  # of floating numbers alone


def located(part: Any) -> Any:
    """A part as processors know it: an image of a file has it under "path" or "url"."""
    place = picture_place(part) if part.get("type") == "image" else None
    if place is None:
        return part
    return {"type": "image", "url" if "://" in place else "path": place}


def visual_contrastive(
    model: PreTrainedModel,
    processor: Any,
    prompts: Sequence[Prompt],
    *,
    image: str = "",
    view: str = "noise",
    beta: float = 1.0,
    alpha: float = 0.1,
    noise_step: int = 500,
    rate: float = 0.0,
    instruction: str = "",
    seed: int = 0,
) -> LogitsProcessor:
    """The chats against the same ones with noised pictures, without pictures, or after an instruction that disturbs."""
    if view not in VIEWS:
        raise ValueError(f"view={view} is not one of {', '.join(VIEWS)}")
    for name, value, own in (("rate", rate, "none"), ("instruction", instruction, "instruction")):
        if value and view != own:
            raise ValueError(f"{name}={value} is of view={own}, and the view is {view}")
    chats = [about_picture(each, image) if image else each for each in prompts]
    seen = [each for each in chats if isinstance(each, Chat) and each.pictures]
    if len(seen) < len(chats):
        raise ValueError("a prompt has no picture: give image=FILE, or a chat with an image among its parts")
    read = partial(picture_inputs, processor, model=model)
    if view == "none":
        without = [read(chat=each.without_pictures()) for each in seen]
        if rate:
            return M3IDLogitsProcessor(model, joined(without), rate=rate, alpha=alpha)
        amateur = InputsAmateur(model, without)
    elif view == "instruction":
        amateur = InputsAmateur(model, [read(chat=disturbed(each, instruction or INSTRUCTION)) for each in seen])
    else:
        chance = torch.Generator().manual_seed(seed)
        amateur = InputsAmateur(model, [noised(read(chat=each), noise_step, chance) for each in seen])
    return ContrastiveDecodingLogitsProcessor(amateur, alpha=alpha, form=partial(extrapolation, beta=beta))


def noised(inputs: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
    """The inputs with noised pixels."""
    return {**inputs, "pixel_values": diffusion_noise(inputs["pixel_values"], step=step, generator=generator)}


def disturbed(chat: Chat, instruction: str) -> Chat:
    """The chat with an instruction before the words of the user's last message, after its pictures."""

    def before_words(content: Any) -> list[Any]:
        parts = parts_of(content)
        place = next((place for place, part in enumerate(parts) if "text" in part), len(parts))
        return [*parts[:place], {"type": "text", "text": instruction}, *parts[place:]]

    return chat.with_last_content(before_words)
