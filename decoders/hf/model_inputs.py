"""What ``generate`` hands a model beside the text, and which of it says anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.generation.utils import MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL

from counterpoint.decoders.hf.caches import CACHE_NAMES

OF_PROMPT = frozenset(MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL) | {"mm_encoder_outputs"}
"""Pictures, sounds and what was made of them: read with the prompt, and not again while there is a cache."""

TOKEN_TYPES = ("token_type_ids", "mm_token_type_ids", "moe_mm_token_type_ids")
"""Arguments with a value for each token, which ``generate`` carries on for new ones."""

TEXT = frozenset({"input_ids", "attention_mask", "position_ids", "use_cache", "logits_to_keep", *CACHE_NAMES})
"""Arguments of a model that say nothing but the text."""

RENAMES_MARKS = frozenset({"gemma3", "gemma3n"})
"""Model types whose processors call ``mm_token_type_ids`` by the name that elsewhere is for kinds of text, ``token_type_ids``."""


def saying_something(model: PreTrainedModel, model_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments without those that are None, empty, or marks of pictures where there is none.

    ``generate`` adds an empty ``mm_encoder_outputs`` to every text of an image-text model, and processors mark all its tokens
    with zeros.
    """
    marks = set(TOKEN_TYPES[1:]) | ({TOKEN_TYPES[0]} if model.config.model_type in RENAMES_MARKS else set())
    return {
        name: value
        for name, value in model_kwargs.items()
        if not (
            value is None
            or (isinstance(value, Mapping) and not any(each is not None for each in value.values()))
            or (name in marks and isinstance(value, Tensor) and not bool(value.any()))
        )
    }


def beside_text(model: PreTrainedModel, model_kwargs: Mapping[str, Any]) -> list[str]:
    """The names of arguments that tell ``model`` of anything but the text: pictures, sounds, kinds of tokens."""
    told = saying_something(model, model_kwargs)
    known = TEXT | {"inputs_embeds"}  # another form of the text
    return sorted(name for name, value in told.items() if name not in known and isinstance(value, Tensor | Mapping | list | tuple))


def pictures_and_sounds(model: PreTrainedModel, model_kwargs: Mapping[str, Any]) -> list[str]:
    """The names of arguments that tell ``model`` what a text's places of pictures and sounds stand for."""
    return sorted(OF_PROMPT & saying_something(model, model_kwargs).keys())


def after_prompt(model_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments without what is read with the prompt alone, where a cache keeps it."""
    return {name: value for name, value in model_kwargs.items() if name not in OF_PROMPT}


def sent_to(device: torch.device, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, with tensors on a device."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in inputs.items()}
