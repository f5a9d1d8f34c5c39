"""P-less sampling: the tokens that are likelier than two draws of the model are to agree."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from counterpoint.decoders.base import DistributionProcessor, SideOutputs
from counterpoint.decoders.checks import check_logits
from counterpoint.decoders.hf.generate_call import current_generate_call, reads_given_texts
from counterpoint.decoders.sampling.restriction import check_min_tokens, restricted


class PLessLogitsProcessor(DistributionProcessor):
    """P-less sampling, for ``model.generate(..., logits_processor=[PLessLogitsProcessor()], do_sample=True, top_k=0)``.

    The tokens v with p(v) >= L keep their logits, and all others get -inf; L = sum_v p(v)^2 is the probability that two tokens
    drawn from p are the same: Tan et al., *p-less Sampling: A Robust Hyperparameter-Free Approach for LLM Decoding* (2025, arXiv
    2509.23234). The set has the most probable token at least, since L is an average of p. Tokens that are banned (-inf) have no
    part in it.

    The set depends on the temperature, which ``generate`` divides by after this processor has run: it is that of p at the
    temperature of the ``generate`` in progress. Elsewhere, in :func:`~counterpoint.decoders.score` too, p is the softmax of the
    logits as they are.

    Args:
        norm: Whether the threshold is L - (1 - L) / (n - 1), n the number of tokens, which is lower: 0 for a uniform p, 1 for a
            certain one.
        min_tokens_to_keep: Number of tokens that are kept whatever their probability; 1, and 2 or more for beams that sample.

    Raises:
        ValueError: For values out of range, and at a token whose logits are NaN.

    Example:
        >>> import torch
        >>> from counterpoint.decoders import PLessLogitsProcessor
        >>> PLessLogitsProcessor()(torch.tensor([[5]]), torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()).exp()
        tensor([[0.5000, 0.0000, 0.0000, 0.0000]])
        >>> PLessLogitsProcessor(norm=True)(torch.tensor([[5]]), torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()).exp()
        tensor([[0.5000, 0.3000, 0.0000, 0.0000]])
    """

    def __init__(self, *, norm: bool = False, min_tokens_to_keep: int = 1) -> None:
        check_min_tokens(min_tokens_to_keep)
        self.norm, self.min_tokens_to_keep = norm, min_tokens_to_keep

    @override
    def process(self, outputs: SideOutputs, scores: Float[Tensor, "positions vocabulary"]) -> Float[Tensor, "positions vocabulary"]:
        check_logits(scores)
        call = current_generate_call()
        temperature = 1.0 if call is None or reads_given_texts() else call.temperature
        return restricted(scores, above_agreement(scores.double() / temperature, norm=self.norm), self.min_tokens_to_keep)


def above_agreement(logits: Float[Tensor, "*batch vocabulary"], *, norm: bool = False) -> Bool[Tensor, "*batch vocabulary"]:
    """The set {v : p(v) >= sum_w p(w)^2}, p over the finite logits; with ``norm``, above the threshold less (1 - L) / (n - 1).

    Example:
        >>> import torch
        >>> above_agreement(torch.tensor([0.4, 0.35, 0.25]).log())  # L is 0.345
        tensor([ True,  True, False])
    """
    finite = logits.isfinite()
    p = logits.double().softmax(dim=-1)
    threshold = p.square().sum(dim=-1, keepdim=True)
    if norm:
        others = finite.sum(dim=-1, keepdim=True) - 1
        threshold = threshold - (1 - threshold) / others.clamp(min=1)
    return finite & (p >= torch.minimum(threshold, p.amax(dim=-1, keepdim=True)))  # rounding lifts a uniform row's sum above 1 / n
