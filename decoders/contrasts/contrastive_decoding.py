"""Contrastive decoding and its kin as logits processors: an expert's distribution set against an amateur's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel
from typing_extensions import override

from counterpoint.decoders.amateurs.models import Amateur, ModelAmateur, PooledAmateur
from counterpoint.decoders.amateurs.prompts import EncoderDecoderAmateur, PromptAmateur
from counterpoint.decoders.amateurs.vocabulary import aligned
from counterpoint.decoders.base import ContrastParts, ContrastProcessor, SideOutputs
from counterpoint.decoders.checks import all_finite, check_amateur, check_logits
from counterpoint.decoders.contrasts.forms import Form, contrast, extrapolation, likelihood_ratio
from counterpoint.decoders.hf.wrappers import Model, plain_model, unwrapped


class ContrastiveDecodingLogitsProcessor(ContrastProcessor):
    """Contrastive decoding, for ``model.generate(..., logits_processor=[ContrastiveDecodingLogitsProcessor(amateur)])``.

    Scores are ln p(v | x) - ln q(v | x) for the tokens v with p(v | x) >= alpha * max_w p(w | x), p the expert that generates and
    q the amateur, and -inf for all others: Li et al., *Contrastive Decoding: Open-ended Text Generation as Optimization* (2022,
    arXiv 2210.15097), equations 3 and 4. Other forms of :mod:`counterpoint.decoders.contrasts.forms` take the ratio's place:

    - ``partial(likelihood_ratio, amateur_temperature=0.5)``: as Li et al. use GPT-2 as the amateur;
    - ``partial(extrapolation, beta=0.5)``: *Contrastive Decoding Improves Reasoning* (O'Brien and Lewis 2023, arXiv 2309.09117);
    - ``partial(log_ratio, beta=1.0)`` with an :class:`~counterpoint.decoders.AdapterAmateur`: induce-then-contrast (Zhang et al.
      2023, arXiv 2312.15710).

    The expert's distribution is what the processors before this one left: their bans hold, their penalties count. To apply a
    penalty to the contrast itself, put its processor after this one in the list. Greedy search follows the scores, sampling draws
    from their softmax, beams add them up, each beam with its own plausible set as in the paper; the released beam search is
    :class:`~counterpoint.decoders.ReleasedContrastiveDecodingLogitsProcessor`. The result depends on the ids of the call alone, so
    that one object serves any number of ``generate`` calls, beams and assisted decoding, whose assistant drafts without a contrast.

    Args:
        amateur: A model with the expert's vocabulary, or one of :mod:`counterpoint.decoders.amateurs.models`.
        alpha: Plausibility constraint in [0, 1]; 0.1 as in the papers. 0 leaves all tokens in, 1 is greedy search by the expert.
        form: ``form(positive, negative)``, of logits ``[rows, vocabulary]``.
        positives: Further distributions to follow: their log-probabilities are averaged with the expert's.

    Raises:
        ValueError: For alpha out of range, and, at the first token, for vocabularies of different sizes, NaN logits or ids that
            an amateur cannot continue.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import ContrastiveDecodingLogitsProcessor
        >>> from counterpoint.eval import AMATEUR, EXPERT
        >>> expert, amateur = (AutoModelForCausalLM.from_pretrained(path) for path in (EXPERT, AMATEUR))
        >>> inputs = AutoTokenizer.from_pretrained(EXPERT)("The whale rose", return_tensors="pt")
        >>> processor = ContrastiveDecodingLogitsProcessor(amateur, alpha=0.1)
        >>> ids = expert.generate(**inputs, logits_processor=[processor], max_new_tokens=10, do_sample=False)
    """

    def __init__(
        self,
        amateur: Amateur | Model,
        *,
        alpha: float = 0.1,
        form: Form = likelihood_ratio,
        positives: Sequence[Amateur] = (),
    ) -> None:
        check_alpha(alpha)
        self.amateur = as_amateur(amateur)
        self.alpha, self.form, self.positives = alpha, form, list(positives)

    @override
    def parts(self, outputs: SideOutputs, scores: Float[Tensor, "positions vocabulary"]) -> ContrastParts:
        others = [amateur_logits(other, outputs, scores) for other in self.positives]
        negative = amateur_logits(self.amateur, outputs, scores)
        positive = scores
        if others:
            positive = torch.stack([each.float().log_softmax(dim=-1) for each in (scores, *others)]).mean(dim=0)
        found = contrast(positive, negative, form=self.form_at(outputs), alpha=self.alpha)
        if not all_finite(best := found.amax(dim=-1)):  # whatever is wrong shows here, and a device is waited for once
            self._check(scores, [*others, negative], best)
        return ContrastParts(scores=found.to(scores.dtype), positive=positive, negative=negative)

    def _check(self, scores: Tensor, logits: Sequence[Tensor], best: Tensor) -> None:
        """Refuse by name what makes the best score of a row NaN or -inf; a form of one's own may give +inf."""
        check_logits(scores)
        for amateur, given in zip([*self.positives, self.amateur], logits, strict=True):
            check_amateur(given, type(amateur).__name__)
        if bool((best == -torch.inf).any()):
            raise ValueError(f"{type(self.amateur).__name__} gives all plausible tokens of a row -inf; give them some probability")

    def form_at(self, outputs: SideOutputs) -> Form:
        """The form of contrast at the positions of ``outputs``, for those that change as a text gets longer."""
        return self.form


class ContextAwareLogitsProcessor(ContrastiveDecodingLogitsProcessor):
    """Context-aware decoding: the prompt with its context against the same prompt without, to make a model use what it is given.

    Scores are (1 + beta) * ln p(v | context, x) - beta * ln p(v | x): Shi et al., *Trusting Your Evidence: Hallucinate Less with
    Context-aware Decoding* (2023, arXiv 2305.14739), equation 3, where beta is called alpha. All tokens are plausible, as there.
    The cost is a second forward of the new tokens and a second cache; the two prompts' keys and values have nothing in common that
    could be shared, since each token's depend on all before it.

    Args:
        model: The model that generates.
        without_context: For each prompt of the batch the one without context: what ``tokenizer(questions, return_tensors="pt",
            padding=True, padding_side="left")`` gives. An encoder-decoder model gets it as its encoder's text, padded as usual.
        beta: Strength of the contrast; 0.5 as released for summaries (1 for questions whose context contradicts the model).
        prompt_length: Width of the real prompts, for loops other than ``generate``, which knows it.

    Raises:
        ValueError: For beta < 0 and for prompts that :class:`~counterpoint.decoders.PromptAmateur` refuses.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import ContextAwareLogitsProcessor
        >>> from counterpoint.eval import EXPERT
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> inputs = tokenizer("The captain was a woman. The captain said that", return_tensors="pt")
        >>> processor = ContextAwareLogitsProcessor(model, tokenizer("The captain said that", return_tensors="pt"))
        >>> ids = model.generate(**inputs, logits_processor=[processor], max_new_tokens=10, do_sample=False)
    """

    def __init__(
        self,
        model: Model,
        without_context: Mapping[str, Tensor],
        *,
        beta: float = 0.5,
        prompt_length: int | None = None,
    ) -> None:
        if not beta >= 0:
            raise ValueError(f"beta={beta!r}: context-aware decoding needs 0 or more, e.g. beta=0.5")
        amateur = prompt_amateur(model, without_context, prompt_length)
        super().__init__(amateur, alpha=0.0, form=partial(extrapolation, beta=beta))


def prompt_amateur(model: Model, prompt: Mapping[str, Tensor], prompt_length: int | None = None) -> Amateur:
    """The model under another prompt, in its encoder if it has one."""
    model = plain_model(model)
    if model.config.is_encoder_decoder:
        return EncoderDecoderAmateur(model, prompt)
    return PromptAmateur(model, prompt, prompt_length=prompt_length)


def as_amateur(amateur: Amateur | Model) -> Amateur:
    """A model as a :class:`~counterpoint.decoders.ModelAmateur`; amateurs as they are."""
    model = unwrapped(amateur)
    return ModelAmateur(model) if isinstance(model, PreTrainedModel) else model


def amateur_logits(
    amateur: Amateur, outputs: SideOutputs, scores: Float[Tensor, "positions vocabulary"]
) -> Float[Tensor, "positions vocabulary"]:
    """The amateur's logits in the place of ``scores``."""
    known = amateur.known_tokens if isinstance(amateur, ModelAmateur | PooledAmateur) else None
    return aligned(outputs.logits(amateur), scores.shape[-1], known)


def checked_logits(
    amateur: Amateur, outputs: SideOutputs, scores: Float[Tensor, "positions vocabulary"]
) -> Float[Tensor, "positions vocabulary"]:
    """The amateur's logits in the place of ``scores``, none of which is NaN or +inf."""
    logits = amateur_logits(amateur, outputs, scores)
    check_amateur(logits, type(amateur).__name__)
    return logits


def check_alpha(alpha: float) -> None:
    """``alpha`` of a plausible set is a number in [0, 1]."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha={alpha!r}: the plausible set needs a number in [0, 1], e.g. alpha=0.1")
