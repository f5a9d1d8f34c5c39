"""What ``generate`` was called with but does not hand to a ``custom_generate`` callable or a logits processor.

transformers passes a callable neither ``streamer`` nor ``synced_gpus`` nor ``assistant_model``, and a logits processor not even
the attention mask. A decoder that never saw them would be silently wrong, so they are read from the frame of the ``generate`` in
progress.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import unwrap
from types import FrameType
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import GenerationMixin, LogitsProcessorList, PreTrainedModel
from transformers.generation.candidate_generator import CandidateGenerator

from counterpoint.decoders.hf.outputs import Streamer
from counterpoint.decoders.undoing import Change

GENERATE_CODE = unwrap(GenerationMixin.generate).__code__
PROCESSORS_CODE = LogitsProcessorList.__call__.__code__
_of_this_thread = threading.local()


@dataclass(frozen=True)
class GenerateCall:
    """Arguments of the ``generate`` in progress; ``input_ids`` and ``attention_mask`` are expanded to one row per text."""

    model: PreTrainedModel | None = None
    input_ids: Tensor | None = None
    attention_mask: Tensor | None = None
    """The mask of ``input_ids``, in an encoder-decoder model those of the decoder; None where there is no padding."""
    mask_width: int = 0
    """Columns of the mask that was given: more than ``input_ids`` has where a cache holds the beginning of the text."""
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """What the model is given in every forward, as it was before the first."""
    streamer: Streamer | None = None
    synced_gpus: bool = False
    assistant_model: PreTrainedModel | None = None
    num_beams: int = 1
    copies: int | None = None
    """Rows of each prompt: beams, or sequences that are returned; None where that is not known, as within a search."""
    temperature: float = 1.0
    """What logits are divided by after all logits processors, where tokens are drawn."""
    drafting: bool = False
    """Whether tokens are being drafted for this call right now, by an assistant or from the prompt."""
    origins: Tensor | None = None
    """Index of the row of ``input_ids`` that each row continues, from a search; None if all have equally many, in order."""


def current_generate_call() -> GenerateCall | None:
    """The ``GenerationMixin.generate`` that the caller serves, or None if there is none on this thread's stack.

    That is the innermost one, or the one around it if the innermost only drafts for it (assisted decoding).
    """
    served, drafting = _served()
    if served is None:
        return None
    arguments = served.f_locals
    model, config = arguments["self"], arguments["generation_config"]  # None until it is prepared
    given, origins = getattr(_of_this_thread, "search", (None, None))
    mask_name = "decoder_attention_mask" if model.config.is_encoder_decoder else "attention_mask"
    mask = arguments.get("kwargs", {}).get(mask_name)
    return GenerateCall(
        model=model,
        input_ids=arguments.get("input_ids"),
        attention_mask=arguments.get("model_kwargs", {}).get(mask_name),
        mask_width=mask.shape[-1] if isinstance(mask, Tensor) else 0,
        model_kwargs=arguments.get("model_kwargs", {}),
        streamer=arguments["streamer"],
        synced_gpus=bool(arguments["synced_gpus"]),
        assistant_model=arguments["assistant_model"],
        num_beams=1 if config is None else config.num_beams or 1,
        copies=None if config is None or given is not None else max(config.num_beams or 1, config.num_return_sequences or 1),
        temperature=1.0 if config is None or not config.do_sample else config.temperature or 1.0,
        drafting=drafting,
        origins=origins if given is not None and given is arguments.get("input_ids") else None,
    )


def current_call() -> object | None:
    """What stands for the call in progress on this thread, the :func:`reading` or the ``generate`` begun last; None without one.

    It is an object that no other call has and that can be referred to weakly.
    """
    frame, _ = _served()
    generate: object | None = None if frame is None else frame.f_locals["generation_config"]  # each call prepares one of its own
    reader = _reader(generate)
    return generate if reader is None else reader


def reads_given_texts() -> bool:
    """Whether given texts are being scored right now, perhaps within a ``generate``."""
    frame, _ = _served()
    return _reader(None if frame is None else frame.f_locals["generation_config"]) is not None


def _reader(generate: object | None) -> object | None:
    """Who scores given texts, if that began within this ``generate``, or without one, and no other ``generate`` in it."""
    reader, around = getattr(_of_this_thread, "reading", (None, None))
    return reader if around is generate else None


def reading(reader: object) -> Change:
    """While it lasts, ``reader`` scores given texts: what is in progress is its call, unless a ``generate`` begins in it."""
    before = getattr(_of_this_thread, "reading", (None, None))
    frame, _ = _served()
    begun = (reader, None if frame is None else frame.f_locals["generation_config"])
    return Change(lambda: vars(_of_this_thread).update(reading=begun), lambda: vars(_of_this_thread).update(reading=before))


def among_processors() -> bool:
    """Whether a logits processor of the ``generate`` in progress is at work, whose forwards are not those that give its scores."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not GENERATE_CODE:
        if frame.f_code is PROCESSORS_CODE:
            return True
        frame = frame.f_back
    return False


def continuing(origins: Int[Tensor, "rows"]) -> Change:
    """While it lasts, row i continues row ``origins[i]`` of the ``generate`` in progress."""
    call = current_generate_call()
    before = getattr(_of_this_thread, "search", (None, None))
    begun = (None if call is None else call.input_ids, origins)
    return Change(lambda: vars(_of_this_thread).update(search=begun), lambda: vars(_of_this_thread).update(search=before))


def origins_of(rows: int, given: int) -> Int[Tensor, "rows"] | None:
    """Index of the prompt, of ``given`` ones, that each row continues; None if the rows cannot be divided evenly among them.

    Example:
        >>> origins_of(rows=6, given=2)
        tensor([0, 0, 0, 1, 1, 1])
    """
    call = current_generate_call()
    if call is None or call.origins is None or call.input_ids is None:
        origins, rows_of_call = torch.arange(rows), rows
    else:
        origins, rows_of_call = call.origins, len(call.input_ids)
    return None if rows_of_call % given else origins // (rows_of_call // given)


def _served() -> tuple[FrameType | None, bool]:
    """The frame of the ``generate`` that is served, and whether it is drafted for right now."""
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
    return served, drafting


def _asks_for_drafts(frame: FrameType) -> bool:
    """Whether an assistant, prompt lookup or the like is at work, which may call processors on logits of its own or made up."""
    return frame.f_code.co_name == "get_candidates" and isinstance(frame.f_locals.get("self"), CandidateGenerator)
