"""M3ID: a contrast with the prompt without its picture that grows as the text gets longer and the picture is forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from counterpoint.decoders.base import SideOutputs
from counterpoint.decoders.contrasts.contrastive_decoding import ContrastiveDecodingLogitsProcessor, prompt_amateur
from counterpoint.decoders.contrasts.forms import Form
from counterpoint.decoders.hf.wrappers import Model

MOST = 1e4
"""The largest strength: beyond it float32 could not tell contrasts apart."""


def growing_extrapolation(
    positive: Float[Tensor, "*batch vocabulary"],
    negative: Float[Tensor, "*batch vocabulary"],
    *,
    tokens: Int[Tensor, "*batch"],
    rate: float = 0.02,
) -> Float[Tensor, "*batch vocabulary"]:
    """The form (1 + b) * ln p(v) - b * ln q(v) with b = exp(rate * t) - 1, t ``tokens`` generated before each position.

    Example:
        >>> import torch
        >>> p, q = torch.tensor([0.60, 0.35, 0.05]).log(), torch.tensor([0.75, 0.20, 0.05]).log()
        >>> growing_extrapolation(p, q, tokens=torch.tensor(50)).softmax(dim=-1)
        tensor([0.2975, 0.6661, 0.0364])
    """
    beta = torch.expm1(rate * tokens.double()).clamp(max=MOST).float().unsqueeze(-1)
    return (1 + beta) * positive.float().log_softmax(dim=-1) - beta * negative.float().log_softmax(dim=-1)


class M3IDLogitsProcessor(ContrastiveDecodingLogitsProcessor):
    """M3ID, for ``model.generate(..., logits_processor=[M3IDLogitsProcessor(model, without_picture)])``.

    Scores of plausible tokens are (1 + b) * ln p(v | picture, x) - b * ln p(v | x), b = exp(rate * t) - 1 after t generated tokens:
    Favero et al., *Multi-Modal Hallucination Control by Visual Information Grounding* (2024, arXiv 2403.14003), as public
    reimplementations compute it. The first token is the model's own; after 35 tokens b is 1. It grows to 10,000 at most. What
    stands for the picture may be any context that a model forgets as it writes.

    Args:
        model: The model that generates.
        without_picture: For each prompt of the batch the one without its picture, text alone, as
            :class:`~counterpoint.decoders.ContextAwareLogitsProcessor` takes it.
        rate: How fast the strength grows, 0 or more; 0.02 as in reimplementations. 0 is the model itself on the plausible set.
        alpha: Plausibility constraint in [0, 1]; 0.1 as there. Without one a strength without limit leads to unlikely tokens.
        prompt_length: Width of the real prompts, for loops other than ``generate``, which knows it.

    Raises:
        ValueError: For values out of range and for prompts that :class:`~counterpoint.decoders.PromptAmateur` refuses.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import M3IDLogitsProcessor
        >>> from counterpoint.eval import EXPERT
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> inputs = tokenizer("The captain was a woman. The captain said that", return_tensors="pt")
        >>> processor = M3IDLogitsProcessor(model, tokenizer("The captain said that", return_tensors="pt"))
        >>> ids = model.generate(**inputs, logits_processor=[processor], max_new_tokens=10, do_sample=False)
    """

    def __init__(
        self,
        model: Model,
        without_picture: Mapping[str, Tensor],
        *,
        rate: float = 0.02,
        alpha: float = 0.1,
        prompt_length: int | None = None,
    ) -> None:
        if not 0 <= rate < float("inf"):
            raise ValueError(f"rate={rate!r}: the strength grows by a rate of 0 or more, e.g. rate=0.02")
        super().__init__(prompt_amateur(model, without_picture, prompt_length), alpha=alpha)
        self.rate, self.prompt_length = rate, prompt_length

    @override
    def form_at(self, outputs: SideOutputs) -> Form:
        return partial(growing_extrapolation, tokens=outputs.new_tokens(self.prompt_length), rate=self.rate)
