"""COIECD: context-aware decoding for the tokens that a context makes unusually likely, the model's own words for the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from counterpoint.decoders.contrasts.contrastive_decoding import ContrastiveDecodingLogitsProcessor, prompt_amateur
from counterpoint.decoders.hf.wrappers import Model


def usual_tokens(log_probabilities: Float[Tensor, "*batch vocabulary"], *, ratio: float) -> Bool[Tensor, "*batch vocabulary"]:
    """The set {v : ratio * min p <= p(v) <= max p / ratio}; without its upper bound in a row in which one token alone exceeds it.

    The minimum is over tokens that are not banned.

    Example:
        >>> import torch
        >>> usual_tokens(torch.tensor([0.60, 0.20, 0.12, 0.079, 0.001]).log(), ratio=4.0)
        tensor([False, False,  True,  True, False])
    """
    step, banned = math.log(ratio), log_probabilities == -torch.inf
    above = log_probabilities > log_probabilities.amax(dim=-1, keepdim=True) - step
    least = log_probabilities.masked_fill(banned, torch.inf).amin(dim=-1, keepdim=True)
    confident = above.sum(dim=-1, keepdim=True) == 1
    return (log_probabilities >= least + step) & (~above | confident)


def entropy_constrained(
    positive: Float[Tensor, "*batch vocabulary"],
    negative: Float[Tensor, "*batch vocabulary"],
    *,
    beta: float = 1.0,
    ratio: float = 4.0,
) -> Float[Tensor, "*batch vocabulary"]:
    """The form beta * (ln p(v) - ln q(v)) + (ln q(v) if v is usual else ln p(v)); which tokens are, :func:`usual_tokens` of p says.

    Example:
        >>> import torch
        >>> p, q = torch.tensor([0.60, 0.20, 0.12, 0.079, 0.001]), torch.tensor([0.10, 0.15, 0.40, 0.30, 0.05])
        >>> entropy_constrained(p.log(), q.log()).softmax(dim=-1)[:4]
        tensor([0.8855, 0.0656, 0.0295, 0.0194])
    """
    p, q = positive.float().log_softmax(dim=-1), negative.float().log_softmax(dim=-1)
    return torch.where(usual_tokens(p, ratio=ratio), q, p) + beta * (p - q)


class COIECDLogitsProcessor(ContrastiveDecodingLogitsProcessor):
    """COIECD, for ``model.generate(..., logits_processor=[COIECDLogitsProcessor(model, without_context)])``.

    With p the model that reads the context and q the one without, tokens v whose probability is usual, ratio * min p <= p(v) <=
    max p / ratio, get ln q(v) + beta * (ln p(v) - ln q(v)), and all others ln p(v) + beta * (ln p(v) - ln q(v)): Yuan et al.,
    *Discerning and Resolving Knowledge Conflicts through Adaptive Decoding with Contextual Information-Entropy Constraint* (2024,
    arXiv 2402.11893). If a single token exceeds the upper bound, the model is sure of it, and that bound is not applied. At
    beta = 1 usual tokens keep the model's own ln p, and the others get context-aware decoding.

    In the paper the bounds are on softmax(-ln p(v) - H(q)), ratio = 1 / lambda. The entropy H(q) is the same for all tokens and
    cancels in the softmax, in the released code as well: the set depends on p alone, as it is written here. The released code
    counts the tokens above the bound over the whole batch and its sets are right for one row; here both are each row's own.

    Args:
        model: The model that generates.
        without_context: For each prompt of the batch the one without context, as
            :class:`~counterpoint.decoders.ContextAwareLogitsProcessor` takes it.
        beta: Strength of the contrast; 1, which the released code has no other value for.
        ratio: Width of the bounds, 1 or more; 4 as released (lambda = 0.25). With a very large one no token is usual, and this is
            context-aware decoding.
        prompt_length: Width of the real prompts, for loops other than ``generate``, which knows it.

    Raises:
        ValueError: For values out of range and for prompts that :class:`~counterpoint.decoders.PromptAmateur` refuses.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import COIECDLogitsProcessor
        >>> from counterpoint.eval import EXPERT
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> inputs = tokenizer("The captain was a woman. The captain said that", return_tensors="pt")
        >>> processor = COIECDLogitsProcessor(model, tokenizer("The captain said that", return_tensors="pt"))
        >>> ids = model.generate(**inputs, logits_processor=[processor], max_new_tokens=10, do_sample=False)
    """

    def __init__(
        self,
        model: Model,
        without_context: Mapping[str, Tensor],
        *,
        beta: float = 1.0,
        ratio: float = 4.0,
        prompt_length: int | None = None,
    ) -> None:
        if not 0 <= beta < float("inf"):
            raise ValueError(f"beta={beta!r}: COIECD's strength is 0 or more, e.g. beta=1.0")
        if not 1 <= ratio < float("inf"):
            raise ValueError(f"ratio={ratio!r}: the bounds of usual tokens need 1 or more, e.g. ratio=4.0")
        amateur = prompt_amateur(model, without_context, prompt_length)
        super().__init__(amateur, alpha=0.0, form=partial(entropy_constrained, beta=beta, ratio=ratio))
