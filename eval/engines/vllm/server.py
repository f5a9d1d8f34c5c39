"""Which servers a contrast can follow."""

from __future__ import annotations

from typing import Any


def check_server(vllm_config: Any) -> None:
    """The server runs logits processors on texts whose tokens are all known.

    Raises:
        ValueError: Naming what is in the way.
    """
    served = vllm_config.model_config
    if vllm_config.speculative_config is not None:
        raise ValueError("vLLM runs no logits processors on drafts: start it without --speculative-config")
    if served.enable_prompt_embeds:
        raise ValueError("an amateur reads the prompt's tokens: start vLLM without --enable-prompt-embeds")
    if served.is_multimodal_model:
        raise ValueError(f"{served.model} takes pictures or sounds, which an amateur is not given; serve a model of text alone")
