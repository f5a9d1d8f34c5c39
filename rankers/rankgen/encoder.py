"""RankGen's encoder: T5's, read at the first position, and a projection."""

from __future__ import annotations

import copy

from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel, T5PreTrainedModel


class RankGenEncoder(T5PreTrainedModel):
    """e(text) = W h_1: the encoder's last hidden state at the text's first token, projected without a bias and not normalised.

    The first token is the marker that says whether the text is read as a prefix or as a suffix (Krishna et al. 2022, arXiv
    2205.09726). Weights have the names of the published checkpoints.

    Args:
        config: Any size of T5.
    """

    def __init__(self, config: T5Config) -> None:
        config = copy.deepcopy(config)  # T5EncoderModel changes it
        super().__init__(config)
        self.t5_encoder = T5EncoderModel(config)
        self.projection = nn.Linear(config.d_model, config.d_model, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self, input_ids: Int[Tensor, "texts length"], attention_mask: Int[Tensor, "texts length"]
    ) -> Float[Tensor, "texts width"]:
        """The vectors of texts that are padded on the right."""
        hidden = self.t5_encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        vectors: Tensor = self.projection(hidden[:, 0])
        return vectors
