"""DeCoRe: the model against itself without its retrieval heads, as strongly as it is unsure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from counterpoint.decoders.amateurs.head_lists import Head
from counterpoint.decoders.amateurs.heads import HeadMaskedAmateur
from counterpoint.decoders.contrasts.contrastive_decoding import ContrastiveDecodingLogitsProcessor
from counterpoint.decoders.contrasts.forms import Form, extrapolation
from counterpoint.decoders.hf.wrappers import Model


def entropy_extrapolation(
    positive: Float[Tensor, "*batch vocabulary"],
    negative: Float[Tensor, "*batch vocabulary"],
    *,
    cap: float = math.inf,
    scaled: bool = False,
) -> Float[Tensor, "*batch vocabulary"]:
    """The form (1 + b) * ln p(v) - b * ln q(v), b the entropy H(p) of each row and position in nats.

    Args:
        positive: Logits of p.
        negative: Logits of q.
        cap: The largest b.
        scaled: Whether b is H(p) / ln |V| instead, which lies in [0, 1].

    Example:
        >>> import torch
        >>> p, q = torch.tensor([0.5, 0.3, 0.2]).log(), torch.tensor([0.4, 0.4, 0.2]).log()
        >>> entropy_extrapolation(p, q).softmax(dim=-1)
        tensor([0.5979, 0.2120, 0.1901])
    """
    p, q = positive.float().log_softmax(dim=-1), negative.float().log_softmax(dim=-1)
    beta: Tensor = torch.special.entr(p.exp()).sum(dim=-1, keepdim=True)
    if scaled:
        beta = beta / math.log(p.shape[-1])
    beta = beta.clamp(max=cap)
    return (1 + beta) * p - beta * q


class DeCoReLogitsProcessor(ContrastiveDecodingLogitsProcessor):
    """DeCoRe, for ``model.generate(..., logits_processor=[DeCoReLogitsProcessor(model, heads)])``.

    Scores are (1 + b) * ln p(v | x) - b * ln q(v | x), q the same model with its retrieval heads masked, which therefore copies
    less from the context, and b the entropy of p, or a constant: Gema et al., *DeCoRe: Decoding by Contrasting Retrieval Heads to
    Mitigate Hallucinations* (2024, arXiv 2410.18860). All tokens are plausible unless ``alpha`` says otherwise, as there. The cost
    is a second forward of the new tokens and a second cache.

    The masked model reads the prompt masked too, in generation and in scoring; see
    :class:`~counterpoint.decoders.HeadMaskedAmateur`.

    Args:
        model: The model that generates, decoder-only.
        heads: Its retrieval heads, pairs of a layer and a query head; ``counterpoint retrieval-heads`` finds them. The released
            code takes 50.
        beta: The strength b; None for the entropy of p at each row and position. 0.5 in the released form without entropy.
        cap: The largest strength where it is the entropy; without a limit as released.
        mask: How heads are masked: "uniform", as released, or "zero".
        alpha: Plausibility constraint in [0, 1]; 0, all tokens, as released.

    Raises:
        ValueError: For values out of range, a ``cap`` with a constant ``beta``, and heads that cannot be masked.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import DeCoReLogitsProcessor
        >>> from counterpoint.eval import EXPERT
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> processor = DeCoReLogitsProcessor(model, [(1, 0), (2, 3)])
        >>> inputs = tokenizer("The whale rose", return_tensors="pt")
        >>> ids = model.generate(**inputs, logits_processor=[processor], max_new_tokens=10, do_sample=False)
    """

    def __init__(
        self,
        model: Model,
        heads: Sequence[Head],
        *,
        beta: float | None = None,
        cap: float = math.inf,
        mask: str = "uniform",
        alpha: float = 0.0,
    ) -> None:
        if beta is not None and not 0 <= beta < float("inf"):
            raise ValueError(f"beta={beta!r}: DeCoRe's strength is 0 or more, e.g. beta=0.5, or None for the entropy")
        if not cap > 0 or (cap < math.inf and beta is not None):
            raise ValueError(f"cap={cap!r}: the largest entropy that is taken as a strength is above 0, and beta is then None")
        form: Form = partial(entropy_extrapolation, cap=cap) if beta is None else partial(extrapolation, beta=beta)
        super().__init__(HeadMaskedAmateur(model, heads, mask=mask), alpha=alpha, form=form)
