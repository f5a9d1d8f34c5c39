"""SLED's scores of given texts as its released code sums them: raw logits, not log-probabilities."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from counterpoint.decoders.layers.sled import SLEDLogitsProcessor


class ReleasedSLEDLogitsProcessor(SLEDLogitsProcessor):
    """SLED whose scores are the evolved raw logits, for ``score(..., renormalise=False)``.

    The released code of Zhang et al. (2024, arXiv 2411.02433) scores an answer of TruthfulQA by the sum of its tokens' evolved
    logits, which nothing normalises: not before the evolution, as :class:`~counterpoint.decoders.SLEDLogitsProcessor` with
    ``renormalise=False``, nor after it. Each position then adds ln sum_w exp z_w, the level of its logits, on which no probability
    of the model depends. Use it to compare with published figures; there T is 10, the lower bound -100 (-2500 in a second class of
    that code), and for TruthfulQA the rate is 2.5 and the scale 75.

    With ``renormalise=True``, in greedy search and in sampling it is SLED, but for processors that come before: of those, the bans
    alone count.

    Args:
        model: As for :class:`~counterpoint.decoders.SLEDLogitsProcessor`, as are all others.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import ReleasedSLEDLogitsProcessor, score
        >>> from counterpoint.eval import EXPERT
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> decoder = ReleasedSLEDLogitsProcessor(model, evolution_steps=10, evolution_lower_bound=-100.0)
        >>> answers = [" ship", " cheese"]
        >>> (scores,) = score(model, tokenizer, ["The captain of the"], [answers], decoder, renormalise=False)
        >>> scores[0].total > scores[1].total
        True
    """

    @override
    def evolving(
        self, scores: Float[Tensor, "positions vocabulary"], final: Float[Tensor, "positions vocabulary"]
    ) -> Float[Tensor, "positions vocabulary"]:
        return final.masked_fill(scores == -torch.inf, -torch.inf)
