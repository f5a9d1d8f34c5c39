"""What a model's configuration says, whatever its family calls it."""

from __future__ import annotations

from transformers import PreTrainedModel


def context_length(model: PreTrainedModel) -> int | None:
    """The largest number of tokens in a text; None without a limit, as in recurrent models, and where the family states none."""
    length: int | None = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    return length
