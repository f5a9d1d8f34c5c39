"""What a model's configuration says, whatever its family calls it."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel


def context_length(model: PreTrainedModel) -> int | None:
    """The largest number of tokens in a text; None without a limit, as in recurrent models, and where the family states none."""
    length: int | None = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    return length


def special_tokens(model: PreTrainedModel) -> set[int]:
    """The tokens that a configuration has a name for: BOS, EOS, padding, places of pictures and so on."""
    configs = [model.config.to_dict(), model.config.get_text_config(decoder=True).to_dict()]
    named = [value for config in configs for name, value in config.items() if "token_i" in name]  # token_id, token_ids, token_index
    return {token for value in named for token in (value if isinstance(value, list) else [value]) if isinstance(token, int)}


def decoder_start(model: PreTrainedModel) -> int | None:
    """The decoder's first token, as ``generate`` finds it; None for a model without an encoder.

    Raises:
        ValueError: If an encoder-decoder model has none.
    """
    if not model.config.is_encoder_decoder:
        return None
    configs: list[Any] = [model.generation_config, model.config]
    for name in ("decoder_start_token_id", "bos_token_id"):
        for config in configs:
            token: int | None = getattr(config, name, None)
            if token is not None:
                return token
    raise ValueError(f"{type(model).__name__} has no decoder_start_token_id: set that of model.generation_config")
