"""Frustratingly simple decoding: the model against an anti-language model of the text so far."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from counterpoint.decoders.base import ContrastParts, ContrastProcessor, SideOutputs
from counterpoint.decoders.checks import check_logits
from counterpoint.decoders.contrasts.anti_language_models import AntiLanguageModel, NGramAntiLanguageModel
from counterpoint.decoders.search.contrastive_score import contrastive_scores, on_candidates


class FrustratinglySimpleLogitsProcessor(ContrastProcessor):
    """Frustratingly simple decoding, for ``model.generate(..., logits_processor=[FrustratinglySimpleLogitsProcessor()])``.

    The ``top_k`` most probable tokens get (1 - penalty_alpha) * p(v | x) - penalty_alpha * q(v | x), all others -inf; q is how
    much v would repeat of the text so far, prompt included: Yang et al., *A Frustratingly Simple Decoding Method for Neural Text
    Generation* (2023, arXiv 2305.12675). Greedy search is the paper's; beams add the scores up; sampling draws from their softmax.
    The result depends on the ids of the call alone, so that rows may be reordered, taken back or belong to another ``generate``,
    and :func:`~counterpoint.decoders.score` gives texts the same probabilities.

    The released code forbids EOS for as long as texts may get, which here is ``min_new_tokens`` of ``generate``, and repeats
    newlines of GPT-2 without a penalty: ``exempt``.

    Args:
        anti_lm: :class:`~counterpoint.decoders.NGramAntiLanguageModel` with the released settings by default;
            :class:`~counterpoint.decoders.VectorAntiLanguageModel` compares hidden states instead.
        penalty_alpha: Weight of the penalty in [0, 1], the paper's alpha. As released: 0.65 for n-grams and 0.45 for vectors in
            English, 0.55 and 0.4 in Chinese.
        top_k: Number of candidates; 3 as released.
        exempt: Tokens that may be repeated without a penalty.
        attention_mask: The prompts' mask ``[prompts, length]`` for loops other than ``generate``, which has it.

    Raises:
        ValueError: For values out of range; at the first token, for prompts that are given as ``inputs_embeds`` alone.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import FrustratinglySimpleLogitsProcessor
        >>> from counterpoint.eval import EXPERT
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> inputs = tokenizer("The whale rose", return_tensors="pt")
        >>> processor = FrustratinglySimpleLogitsProcessor(penalty_alpha=0.65, top_k=3)
        >>> ids = model.generate(**inputs, logits_processor=[processor], max_new_tokens=10, do_sample=False)
    """

    def __init__(
        self,
        anti_lm: AntiLanguageModel | None = None,
        *,
        penalty_alpha: float = 0.65,
        top_k: int = 3,
        exempt: Sequence[int] = (),
        attention_mask: Int[Tensor, "prompts length"] | None = None,
    ) -> None:
        if not 0 <= penalty_alpha <= 1:
            raise ValueError(
                f"penalty_alpha={penalty_alpha!r}: the penalty's weight is a number in [0, 1], e.g. penalty_alpha=0.65"
            )
        if top_k < 1:
            raise ValueError(f"top_k={top_k}: at least one candidate is needed, e.g. top_k=3")
        self.anti_lm = NGramAntiLanguageModel() if anti_lm is None else anti_lm
        self.penalty_alpha, self.top_k = penalty_alpha, top_k
        self.exempt = torch.tensor(list(exempt), dtype=torch.long)
        self.attention_mask = attention_mask

    @override
    def parts(self, outputs: SideOutputs, scores: Float[Tensor, "positions vocabulary"]) -> ContrastParts:
        check_logits(scores)
        probabilities, candidates = scores.float().softmax(dim=-1).topk(min(self.top_k, scores.shape[-1]), dim=-1)
        penalty = self.anti_lm.penalty(outputs, candidates)
        penalty = penalty.masked_fill(torch.isin(candidates, self.exempt.to(candidates.device)), 0.0)
        found = on_candidates(scores, candidates, contrastive_scores(probabilities, penalty, self.penalty_alpha))
        return ContrastParts(scores=found, positive=scores, choice={"candidates": candidates, "penalty": penalty})
