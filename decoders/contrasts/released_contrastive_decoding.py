"""Contrastive decoding's beam search as released: a shortlist of all beams in the place of the plausible set."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from counterpoint.decoders.amateurs.models import Amateur
from counterpoint.decoders.base import ExpertLogitsProcessor
from counterpoint.decoders.contrasts.contrastive_decoding import ContrastiveDecodingLogitsProcessor
from counterpoint.decoders.contrasts.forms import Form, released_likelihood_ratio
from counterpoint.decoders.hf.generate_call import current_generate_call
from counterpoint.decoders.hf.wrappers import Model


class ReleasedContrastiveDecodingLogitsProcessor(ExpertLogitsProcessor):
    """Contrastive decoding as Li et al.'s code runs it under beams, for ``generate(num_beams=5, logits_processor=[this])``.

    Of all beams of a prompt together, the 2 * num_beams tokens that the expert finds most probable (by the last step alone,
    whatever the beams' scores) get ln p(v | x) - coefficient * ln q(v | x) / amateur_temperature, all others -inf. The paper (2022,
    arXiv 2210.15097) has the plausible set of every beam instead, which is what
    :class:`~counterpoint.decoders.ContrastiveDecodingLogitsProcessor` computes; published results ran this, with 5 beams and an
    amateur that sees the prompt's last token only (:class:`~counterpoint.decoders.LastTokenAmateur`).

    Args:
        amateur: A model with the expert's vocabulary, or one of :mod:`counterpoint.decoders.amateurs.models`.
        form: ``form(positive, negative)``; amateur temperature 0.5 and coefficient 1 by default.

    Raises:
        ValueError: Without beams, since the shortlist would be two tokens.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import LastTokenAmateur, ReleasedContrastiveDecodingLogitsProcessor
        >>> from counterpoint.eval import AMATEUR, EXPERT
        >>> expert, amateur = (AutoModelForCausalLM.from_pretrained(path) for path in (EXPERT, AMATEUR))
        >>> inputs = AutoTokenizer.from_pretrained(EXPERT)("The whale rose", return_tensors="pt")
        >>> processor = ReleasedContrastiveDecodingLogitsProcessor(LastTokenAmateur(amateur))
        >>> ids = expert.generate(**inputs, logits_processor=[processor], num_beams=5, max_new_tokens=10, do_sample=False)
    """

    def __init__(self, amateur: Amateur | Model, *, form: Form = released_likelihood_ratio) -> None:
        self.contrast = ContrastiveDecodingLogitsProcessor(amateur, alpha=0.0, form=form)

    @override
    def next_scores(
        self, input_ids: Int[Tensor, "rows length"], scores: Float[Tensor, "rows vocabulary"]
    ) -> Float[Tensor, "rows vocabulary"]:
        call = current_generate_call()
        beams = 1 if call is None else call.num_beams
        if beams == 1:
            raise ValueError("num_beams=1: the shortlist is one of beams; without them use ContrastiveDecodingLogitsProcessor")
        return self.contrast.next_scores(input_ids, scores).masked_fill(~shortlist(input_ids, scores, beams), -torch.inf)


def shortlist(
    input_ids: Int[Tensor, "rows length"], scores: Float[Tensor, "rows vocabulary"], beams: int
) -> Bool[Tensor, "rows vocabulary"]:
    """The 2 * beams best tokens of every ``beams`` rows together, or of each row while the rows are one prompt's copies.

    Example:
        >>> import torch
        >>> shortlist(torch.tensor([[5], [6]]), torch.tensor([[0.9, 0.8, 0.7, 0.6], [0.5, 0.1, 0.2, 0.3]]), beams=2)
        tensor([[ True,  True,  True,  True],
                [False, False, False, False]])
    """
    texts, groups = input_ids.unflatten(0, (-1, beams)), scores.unflatten(0, (-1, beams))
    together, copies = best(groups.flatten(1), 2 * beams).view_as(groups), best(groups, 2 * beams)
    begun = (texts != texts[:, :1]).any(dim=-1).any(dim=-1)
    return torch.where(begun[:, None, None], together, copies).flatten(0, 1)


def best(scores: Float[Tensor, "*batch tokens"], count: int) -> Bool[Tensor, "*batch tokens"]:
    """Which ``count`` of the scores are the largest."""
    indices = scores.topk(min(count, scores.shape[-1]), dim=-1).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, indices, True)
