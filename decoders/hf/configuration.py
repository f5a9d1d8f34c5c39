"""What a model's configuration says, whatever its family calls it."""

from __future__ import annotations

from transformers import PreTrainedModel


def context_length(model: PreTrainedModel) -> int | None:
    """The most tokens that a text may have; None where there is no limit, as in recurrent models, or the family names none."""
    length: int | None = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    return length
