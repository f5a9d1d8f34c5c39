"""What ``generate`` was called with but does not hand to a ``custom_generate`` callable.

transformers passes a callable neither ``streamer`` nor ``synced_gpus`` nor ``assistant_model``, even where its signature names
them. A decoder that never saw them would ignore them silently, so they are read from the frame of the ``generate`` in progress.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from inspect import unwrap

from transformers import GenerationMixin, PreTrainedModel
from transformers.generation.streamers import BaseStreamer

GENERATE_CODE = unwrap(GenerationMixin.generate).__code__


@dataclass(frozen=True)
class GenerateCall:
    """Arguments of the ``generate`` in progress."""

    streamer: BaseStreamer | None = None
    synced_gpus: bool = False
    assistant_model: PreTrainedModel | None = None


def current_generate_call() -> GenerateCall:
    """The innermost ``GenerationMixin.generate`` on this thread's stack; the defaults if there is none."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code is GENERATE_CODE:
            arguments = frame.f_locals
            return GenerateCall(arguments["streamer"], bool(arguments["synced_gpus"]), arguments["assistant_model"])
        frame = frame.f_back  # type: ignore[assignment]
    return GenerateCall()
