"""Anti-language models: how much each candidate would repeat of the text so far, by n-grams or by hidden states.

Yang et al., *A Frustratingly Simple Decoding Method for Neural Text Generation* (2023, arXiv 2305.12675), as their released code
computes them.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from counterpoint.decoders.base import SideOutputs
from counterpoint.decoders.forwards.text_states import TextStates
from counterpoint.decoders.hf.wrappers import Model, plain_model
from counterpoint.decoders.showing import Shown


@runtime_checkable
class AntiLanguageModel(Protocol):
    """A penalty in [0, 1] for each candidate, from the text so far.

    Example:
        >>> import torch
        >>> class Never:
        ...     def penalty(self, outputs, candidates):
        ...         return torch.zeros(candidates.shape)
        >>> isinstance(Never(), AntiLanguageModel)
        True
    """

    def penalty(self, outputs: SideOutputs, candidates: Int[Tensor, "positions k"]) -> Float[Tensor, "positions k"]:
        """The penalty of each position's candidates after its text, ``outputs.text()``."""


class NGramAntiLanguageModel(Shown, AntiLanguageModel):
    """The interpolated n-gram model of a text, asked for its own continuation.

    From the highest order down, an order in which v has followed the last tokens adds r * beta * count / (total + 1), and leaves
    r * (1 - beta) of the r = 1 that it began with to lower ones; unigrams add r * count / total. Texts of fewer than n - 1 tokens
    have no penalty. It is computed from the ids alone.

    Args:
        n: Tokens in the longest n-gram; 3 as released.
        beta: The share that a matching order takes; 0.9 as released.

    Raises:
        ValueError: For n < 1 or beta outside of [0, 1].

    Example:
        >>> import torch
        >>> from counterpoint.decoders.base import NextTokenOutputs
        >>> text = NextTokenOutputs(torch.tensor([[5, 6, 7, 5, 6]]))
        >>> NGramAntiLanguageModel(n=3, beta=0.9).penalty(text, torch.tensor([[7, 5]]))
        tensor([[0.4970, 0.4000]])
    """

    def __init__(self, *, n: int = 3, beta: float = 0.9) -> None:
        if n < 1:
            raise ValueError(f"n={n}: n-grams have at least one token, e.g. n=3")
        if not 0 <= beta <= 1:
            raise ValueError(f"beta={beta!r}: a matching order takes a share in [0, 1], e.g. beta=0.9")
        self.n, self.beta = n, beta

    @override
    def penalty(self, outputs: SideOutputs, candidates: Int[Tensor, "positions k"]) -> Float[Tensor, "positions k"]:
        input_ids, seen = outputs.text()
        penalty = torch.zeros(candidates.shape, device=candidates.device)
        rest = torch.ones_like(penalty)
        length = input_ids.shape[1]
        for order in range(min(self.n, length) - 1, -1, -1):
            follows = seen[:, : length - order]  # places where the last `order` tokens stand, by their first token
            for back in range(1, order + 1):
                follows = follows & (input_ids[:, order - back : length - back] == input_ids[:, length - back, None])
            next_is = input_ids[:, None, order:] == candidates[..., None]
            count, total = (follows[:, None] & next_is).sum(dim=-1), follows.sum(dim=-1, keepdim=True)
            share = self.beta if order else 1.0
            penalty = penalty + rest * share * count / (total + (1 if order else 0)).clamp(min=1)
            rest = torch.where(count > 0, rest * (1 - self.beta), rest)
        return penalty.masked_fill(seen.sum(dim=-1, keepdim=True) < self.n - 1, 0.0)


class VectorAntiLanguageModel(Shown, AntiLanguageModel):
    """The n-gram model's vector form: max_j max(0, cos(h_t, h_j)) over the places j that v has followed.

    h_j is the last hidden state (for n > 2, the last n - 1 of them in one vector), so that beginnings which mean the same count as
    the same. In generation the states come from the forwards that run anyway; scoring reads the texts once more for them.

    Args:
        model: The model that generates.
        n: Tokens in an n-gram, 2 or more; 2 as released.

    Raises:
        ValueError: For n < 2 and for encoder-decoder models; at the first token, if another model generates or if a cache from
            before holds part of the text.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import FrustratinglySimpleLogitsProcessor, VectorAntiLanguageModel
        >>> from counterpoint.eval import EXPERT
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> processor = FrustratinglySimpleLogitsProcessor(VectorAntiLanguageModel(model), penalty_alpha=0.45)
        >>> ids = model.generate(**tokenizer("The whale", return_tensors="pt"), logits_processor=[processor], max_new_tokens=10)
    """

    def __init__(self, model: Model, *, n: int = 2) -> None:
        if n < 2:
            raise ValueError(f"n={n}: the vector form compares the n - 1 states before a token, so n is at least 2")
        model = plain_model(model)
        if model.config.is_encoder_decoder:
            raise ValueError(
                f"{type(model).__name__} is an encoder-decoder model, whose states depend on a text that a logits processor never "
                "sees; use NGramAntiLanguageModel"
            )
        self.n, self.states = n, TextStates(model)

    @override
    def penalty(self, outputs: SideOutputs, candidates: Int[Tensor, "positions k"]) -> Float[Tensor, "positions k"]:
        return vector_penalty(outputs.text_states(self.states), *outputs.text(), candidates, self.n)


def vector_penalty(
    states: Float[Tensor, "rows length hidden"],
    input_ids: Int[Tensor, "rows length"],
    seen: Bool[Tensor, "rows length"],
    candidates: Int[Tensor, "rows k"],
    n: int,
) -> Float[Tensor, "rows k"]:
    """The largest cosine, 0 at least, of the last n - 1 states with n - 1 states in a row that a candidate has followed.

    Example:
        >>> import torch
        >>> states, ids = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]]), torch.tensor([[5, 6, 7]])
        >>> vector_penalty(states, ids, ids > 0, torch.tensor([[6, 5]]), n=2)
        tensor([[0.7071, 0.0000]])
    """
    earlier = input_ids.shape[1] - (n - 1)
    if earlier < 1:
        return torch.zeros(candidates.shape, device=candidates.device)
    cosine = similarity_of_windows(states, n - 1).to(candidates.device)
    next_is = seen[:, None, :earlier] & (input_ids[:, None, n - 1 :] == candidates[..., None])
    return torch.where(next_is, cosine[:, None], 0.0).amax(dim=-1).clamp(min=0.0)


def similarity_of_windows(states: Float[Tensor, "rows length hidden"], width: int) -> Float[Tensor, "rows earlier"]:
    """The cosine of the last ``width`` states with every earlier run of as many, each run one vector, the last state left out.

    Example:
        >>> import torch
        >>> similarity_of_windows(torch.tensor([[[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]]), width=1)
        tensor([[1., 0.]])
    """
    earlier = states.shape[1] - width
    dot = torch.stack([(states[:, i : i + earlier] * states[:, i - width, None]).sum(-1) for i in range(width)]).sum(dim=0)
    squares = states.square().sum(dim=-1)
    norms = torch.stack([squares[:, i : i + earlier] for i in range(width)]).sum(dim=0).sqrt()
    norm = squares[:, -width:].sum(dim=-1, keepdim=True).sqrt()
    return dot / (norms * norm).clamp(min=1e-12)
