"""Vectors of whole texts from a model's hidden states."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.eval.hidden_states import batched_states, check_layer


def mean_pooling(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    layer: int = -1,
    *,
    max_tokens: int = 512,
    batch_size: int = 32,
) -> Callable[[list[str]], Float[Tensor, "texts hidden"]]:
    """A function from texts to the mean of their tokens' states, for :func:`~counterpoint.eval.embedding_coherence`.

        e(x) = 1 / n * sum_j h_j

    Sentence encoders of the BERT kind are made for it; the states of a causal language model all point much the same way.

    Args:
        model: A decoder-only or encoder-only model, such as ``AutoModel.from_pretrained(...)`` gives.
        tokenizer: Its tokenizer.
        layer: As for :func:`isotropy`.
        max_tokens: Longer texts are cut.
        batch_size: Texts a forward, of similar length.

    Returns:
        The function; a text without tokens gets zeros.

    Raises:
        ValueError: For encoder-decoder models, or for a layer that the model does not have.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.eval import EXPERT, embedding_coherence, mean_pooling
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> embed = mean_pooling(model, tokenizer)
        >>> embed(["The whale", "The captain of the ship"]).shape
        torch.Size([2, 256])
        >>> whale, cheese = embedding_coherence(embed, ["The white whale", "The white whale"], [" swam in the sea", " = 1.5;"])
        >>> whale > cheese
        True
    """
    check_layer(model, layer)

    def embed(texts: list[str]) -> Float[Tensor, "texts hidden"]:
        vectors = torch.zeros(len(texts), 0)
        for rows, states, seen in batched_states(model, tokenizer, texts, layer, max_tokens, batch_size):
            sums = (states.float() * seen[..., None]).sum(dim=1)
            if not vectors.shape[1]:
                vectors = torch.zeros(len(texts), sums.shape[1])
            vectors[rows] = (sums / seen.sum(dim=1, keepdim=True)).cpu()
        return vectors

    return embed
