"""Top-n-sigma sampling: the tokens whose logits are within n standard deviations of the largest."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from counterpoint.decoders.base import DistributionProcessor, SideOutputs
from counterpoint.decoders.checks import check_logits
from counterpoint.decoders.sampling.restriction import check_min_tokens, restricted


class TopNSigmaLogitsProcessor(DistributionProcessor):
    """Top-n-sigma sampling, for ``model.generate(..., logits_processor=[TopNSigmaLogitsProcessor()], do_sample=True, top_k=0)``.

    The tokens v with z(v) >= max_w z(w) - n * sigma keep their logits, and all others get -inf; sigma is the standard deviation of
    the logits z over the vocabulary: Tang et al., *Top-nsigma: Not All Logits Are You Need* (2024, arXiv 2411.07641). Scaling the
    logits scales both sides, so that the set of tokens does not depend on the temperature.

    The released code computes sigma over all logits, which one banned token (-inf) turns into NaN, and the row into -inf; here it
    is the sample deviation of the finite logits.

    Args:
        n: How many standard deviations below the largest logit a token may lie, 0 or more; 1 as in the paper. 0 keeps the largest
            alone, and its equals.
        min_tokens_to_keep: Number of tokens that are kept whatever their logits; 1, and 2 or more for beams that sample.

    Raises:
        ValueError: For values out of range, and at a token whose logits are NaN.

    Example:
        >>> import torch
        >>> from counterpoint.decoders import TopNSigmaLogitsProcessor
        >>> TopNSigmaLogitsProcessor(n=1.0)(torch.tensor([[5]]), torch.tensor([[3.0, 2.5, 0.0, -torch.inf]]))
        tensor([[3.0000, 2.5000,   -inf,   -inf]])
    """

    def __init__(self, *, n: float = 1.0, min_tokens_to_keep: int = 1) -> None:
        if not 0 <= n < float("inf"):
            raise ValueError(f"n={n!r}: a number of standard deviations, 0 or more, e.g. n=1.0")
        check_min_tokens(min_tokens_to_keep)
        self.n, self.min_tokens_to_keep = n, min_tokens_to_keep

    @override
    def process(self, outputs: SideOutputs, scores: Float[Tensor, "positions vocabulary"]) -> Float[Tensor, "positions vocabulary"]:
        check_logits(scores)
        return restricted(scores, within_n_sigma(scores, self.n), self.min_tokens_to_keep)


def within_n_sigma(logits: Float[Tensor, "*batch vocabulary"], n: float) -> Bool[Tensor, "*batch vocabulary"]:
    """The set {v : z(v) >= max_w z(w) - n * sigma}, sigma the sample deviation of the finite logits; 0 for a single one.

    Example:
        >>> import torch
        >>> within_n_sigma(torch.tensor([4.0, 2.0, 0.0]), n=1.0)  # sigma is 2
        tensor([ True,  True, False])
    """
    logits = logits.double()
    finite = logits.isfinite()
    count = finite.sum(dim=-1, keepdim=True)
    mean = logits.masked_fill(~finite, 0.0).sum(dim=-1, keepdim=True) / count
    squares = (logits - mean).masked_fill(~finite, 0.0).square().sum(dim=-1, keepdim=True)
    sigma = (squares / (count - 1).clamp(min=1)).sqrt()
    return finite & (logits >= logits.amax(dim=-1, keepdim=True) - n * sigma)
