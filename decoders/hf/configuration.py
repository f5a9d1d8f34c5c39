"""What a model's configuration says, whatever its family calls it."""

from __future__ import annotations

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
