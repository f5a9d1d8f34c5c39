"""A model's representations of texts: how those of tokens spread, and vectors of whole texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.eval.metrics.hidden_states import batched_states, check_layer
from counterpoint.eval.metrics.texts import as_list


def isotropy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    *,
    layer: int = -1,
    max_tokens: int = 256,
    batch_size: int = 8,
) -> float:
    """How far apart a model's representations of a text's tokens are: 1 minus the mean cosine of pairs.

        isotropy = 1 - sum_i sum_{j != k} cos(h_ij, h_ik) / sum_i n_i (n_i - 1)

    with h_ij the state of text i's token j and n_i its number of tokens. Su and Collier, *Contrastive Search Is What You Need For
    Neural Text Generation* (2023, arXiv 2210.14140): contrastive search tells candidates apart by these cosines, so a model should
    have an isotropy well above 0. They report, on Wikipedia captions, 0.10 for gpt2, 0.25 for gpt2-medium, 0.70 for gpt2-large,
    0.66 to 0.75 for OPT. As in their code the ratio is of sums over texts, so that long texts weigh more.

    The sum over a text's pairs is |sum_j u_j|^2 - n for unit vectors u_j: no matrix of pairs is made.

    Args:
        model: A decoder-only or encoder-only model.
        tokenizer: Its tokenizer; special tokens that it adds by itself count.
        texts: Texts of the kind that the model is to continue.
        layer: Index of the model's ``hidden_states``: -1 is the last, which is unembedded, 0 the embeddings.
        max_tokens: Longer texts are cut, at 256 tokens in the paper's code.
        batch_size: Texts a forward, of similar length.

    Returns:
        1 minus a cosine, from 0 (all states point the same way) to slightly above 1.

    Raises:
        ValueError: For encoder-decoder models, for a layer that the model does not have, or if no text has two tokens.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.eval import EXPERT, isotropy
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> 0 < isotropy(model, tokenizer, ["The captain of the ship was on the deck.", "The whale rose."]) < 1
        True
    """
    sums = pair_sums(model, tokenizer, texts, layer, max_tokens, batch_size)
    cosines, pairs = sums.sum(dim=0)
    if not pairs:
        raise ValueError("texts: none has two tokens to compare")
    return float(1 - cosines / pairs)


def isotropy_of_each(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    *,
    layer: int = -1,
    max_tokens: int = 256,
    batch_size: int = 8,
) -> list[float]:
    """The :func:`isotropy` of each text by itself; nan for a text of fewer than two tokens.

    Arguments and errors are :func:`isotropy`'s.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.eval import EXPERT, isotropy, isotropy_of_each
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> (found,) = isotropy_of_each(model, tokenizer, ["The whale rose."])
        >>> found == isotropy(model, tokenizer, ["The whale rose."])
        True
    """
    sums = pair_sums(model, tokenizer, texts, layer, max_tokens, batch_size).tolist()
    return [1 - cosines / pairs if pairs else math.nan for cosines, pairs in sums]


def mean_pooling(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    layer: int = -1,
    max_tokens: int = 512,
    batch_size: int = 32,
) -> Callable[[list[str]], Float[Tensor, "texts hidden"]]:
    """A function from texts to the mean of their tokens' states, for :func:`~counterpoint.eval.embedding_coherence_of_each`.

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
        >>> from counterpoint.eval import EXPERT, embedding_coherence_of_each, mean_pooling
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> embed = mean_pooling(model, tokenizer)
        >>> embed(["The whale", "The captain of the ship"]).shape
        torch.Size([2, 256])
        >>> prompts, texts = ["The white whale", "The white whale"], [" swam in the sea", " = 1.5;"]
        >>> whale, cheese = embedding_coherence_of_each(embed, prompts, texts)
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


def pair_sums(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    layer: int,
    max_tokens: int,
    batch_size: int,
) -> Float64[Tensor, "texts 2"]:
    """For each text the sum of cosines over ordered pairs of different tokens, and the number of pairs."""
    found = as_list(texts)
    check_layer(model, layer)
    sums = torch.zeros(len(found), 2, dtype=torch.float64)
    for rows, states, seen in batched_states(model, tokenizer, found, layer, max_tokens, batch_size):
        n = seen.sum(dim=1).double()
        sums[rows] = torch.stack([sum_of_cosines(states, seen), n * (n - 1)], dim=-1).cpu()
    return sums


def sum_of_cosines(states: Float[Tensor, "rows tokens hidden"], seen: Bool[Tensor, "rows tokens"]) -> Float64[Tensor, " rows"]:
    """sum_{j != k} cos(h_j, h_k) = |sum_j u_j|^2 - n, with u_j = h_j / |h_j|; a state of zeros is like no other.

    Example:
        >>> import torch
        >>> from counterpoint.eval.metrics.representations import sum_of_cosines
        >>> states = torch.tensor([[[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]]])
        >>> sum_of_cosines(states, torch.ones(1, 3, dtype=torch.bool))  # the first two, in both orders
        tensor([2.], dtype=torch.float64)
    """
    unit = torch.nn.functional.normalize(states.double(), dim=-1) * seen[..., None]
    return unit.sum(dim=1).square().sum(dim=-1) - unit.square().sum(dim=(1, 2))
