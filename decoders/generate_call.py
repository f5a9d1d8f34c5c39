"""What ``generate`` was called with but does not hand to a ``custom_generate`` callable or a logits processor.

transformers passes a callable neither ``streamer`` nor ``synced_gpus`` nor ``assistant_model``, and a logits processor not even
the attention mask. A decoder that never saw them would be silently wrong, so they are read from the frame of the ``generate`` in
progress.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from inspect import unwrap
from types import FrameType

from torch import Tensor
from transformers import GenerationMixin, PreTrainedModel
from transformers.generation.candidate_generator import CandidateGenerator
from transformers.generation.streamers import BaseStreamer

GENERATE_CODE = unwrap(GenerationMixin.generate).__code__


@dataclass(frozen=True)
class GenerateCall:
    """Arguments of the ``generate`` in progress; ``input_ids`` and ``attention_mask`` are expanded to one row per text."""

    model: PreTrainedModel | None = None
    input_ids: Tensor | None = None
    attention_mask: Tensor | None = None
    """Of ``input_ids``, the decoder's ones of an encoder-decoder model; None where there is no padding."""
    streamer: BaseStreamer | None = None
    synced_gpus: bool = False
    assistant_model: PreTrainedModel | None = None
    num_beams: int = 1
    drafting: bool = False
    """Whether tokens are being drafted for it right now, by an assistant or from the prompt."""


def current_generate_call() -> GenerateCall | None:
    """The ``GenerationMixin.generate`` that the caller serves, or None if there is none on this thread's stack.

    That is the innermost one, or the one around it for which it is only drafting (assisted decoding).
    """
    served: FrameType | None = None
    drafting = False
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is GENERATE_CODE:
            if served is not None and not drafting:
                break
            served = frame
            if drafting:
                break
        drafting = drafting or _asks_for_drafts(frame)
        frame = frame.f_back
    if served is None:
        return None
    arguments = served.f_locals
    model, config = arguments["self"], arguments["generation_config"]  # None until it is prepared
    mask_name = "decoder_attention_mask" if model.config.is_encoder_decoder else "attention_mask"
    return GenerateCall(
        model=model,
        input_ids=arguments.get("input_ids"),
        attention_mask=arguments.get("model_kwargs", {}).get(mask_name),
        streamer=arguments["streamer"],
        synced_gpus=bool(arguments["synced_gpus"]),
        assistant_model=arguments["assistant_model"],
        num_beams=1 if config is None else config.num_beams or 1,
        drafting=drafting,
    )


def _asks_for_drafts(frame: FrameType) -> bool:
    """Whether an assistant, prompt lookup or the like is at work, which may call processors on logits of its own or made up."""
    return frame.f_code.co_name == "get_candidates" and isinstance(frame.f_locals.get("self"), CandidateGenerator)
