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
    drafting: bool = False
    """Whether an assistant is drafting tokens for it right now."""


def current_generate_call() -> GenerateCall | None:
    """The ``GenerationMixin.generate`` that the caller serves, or None if there is none on this thread's stack.

    That is the innermost one, or the one around it for which it is only drafting (assisted decoding).
    """
    frame = _outer_generate(sys._getframe())
    if frame is None:
        return None
    outer = _outer_generate(frame.f_back)
    drafting = outer is not None and _drafts(frame, outer)
    arguments = outer.f_locals if outer is not None and drafting else frame.f_locals
    model = arguments["self"]
    mask_name = "decoder_attention_mask" if model.config.is_encoder_decoder else "attention_mask"
    return GenerateCall(
        model=model,
        input_ids=arguments.get("input_ids"),
        attention_mask=arguments.get("model_kwargs", {}).get(mask_name),
        streamer=arguments["streamer"],
        synced_gpus=bool(arguments["synced_gpus"]),
        assistant_model=arguments["assistant_model"],
        drafting=drafting,
    )


def _drafts(inner: FrameType, outer: FrameType) -> bool:
    """Whether the inner ``generate`` is that of the outer one's assistant, which may be its own first layers."""
    model, call = inner.f_locals["self"], outer.f_locals
    early_exit = getattr(call["generation_config"], "assistant_early_exit", None)  # None before the configuration is prepared
    return model is call["assistant_model"] or (model is call["self"] and early_exit is not None)


def _outer_generate(frame: FrameType | None) -> FrameType | None:
    """The first frame of ``generate`` from this one outwards."""
    while frame is not None and frame.f_code is not GENERATE_CODE:
        frame = frame.f_back
    return frame
