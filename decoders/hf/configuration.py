"""What a model's configuration says, whatever its family calls it."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel


def context_length(model: PreTrainedModel) -> int | None:
    """The largest number of tokens in a text; None without a limit, as in recurrent models, and where the family states none."""
    length: int | None = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    return length if length is None or length > 0 else None  # XLNet's is -1


def special_tokens(model: PreTrainedModel) -> set[int]:
    """The tokens that a configuration has a name for: BOS, EOS, padding, places of pictures and so on."""
    configs = [model.config.to_dict(), model.config.get_text_config(decoder=True).to_dict()]
    named = [value for config in configs for name, value in config.items() if "token_i" in name]  # token_id, token_ids, token_index
    return {token for value in named for token in (value if isinstance(value, list) else [value]) if isinstance(token, int)}


def decoder_beginning(model: PreTrainedModel) -> tuple[int, ...]:
    """What the decoder's text begins with before ``generate`` chooses a token: () for a model without an encoder.

    It is the decoder's start, and after it the token that the generation configuration forces (the language of mBART's text, BART's
    begin of text).

    Raises:
        ValueError: If an encoder-decoder model has no start.
    """
    if not model.config.is_encoder_decoder:
        return ()
    configs: list[Any] = [model.generation_config, model.config]
    forced: int | None = configs[0].forced_bos_token_id
    for name in ("decoder_start_token_id", "bos_token_id"):
        for config in configs:
            token: int | None = getattr(config, name, None)
            if token is not None:
                return (token,) if forced is None else (token, forced)
    raise ValueError(f"{type(model).__name__} has no decoder_start_token_id: set that of model.generation_config")
