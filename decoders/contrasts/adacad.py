"""AdaCAD: context-aware decoding whose strength is how far the context moves the model, at each row and step."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from jaxtyping import Float
from torch import Tensor

from counterpoint.decoders.contrasts.contrastive_decoding import ContrastiveDecodingLogitsProcessor, prompt_amateur
from counterpoint.decoders.hf.wrappers import Model
from counterpoint.decoders.layers.divergence import jensen_shannon


def adaptive_extrapolation(
    positive: Float[Tensor, "*batch vocabulary"], negative: Float[Tensor, "*batch vocabulary"], *, minimum: float = 0.0
) -> Float[Tensor, "*batch vocabulary"]:
    """The form (1 + b) * ln p(v) - b * ln q(v) with b = max(minimum, JSD(p, q)), a strength for every row and position.

    The divergence is in nats, so that b lies between 0 and ln 2 = 0.69 unless ``minimum`` is larger.

    Example:
        >>> import torch
        >>> adaptive_extrapolation(torch.tensor([0.8, 0.2]).log(), torch.tensor([0.2, 0.8]).log()).softmax(dim=-1)
        tensor([0.8722, 0.1278])
    """
    p, q = positive.float().log_softmax(dim=-1), negative.float().log_softmax(dim=-1)
    beta = jensen_shannon(p, q).clamp(min=minimum).unsqueeze(-1)
    return (1 + beta) * p - beta * q


class AdaCADLogitsProcessor(ContrastiveDecodingLogitsProcessor):
    """AdaCAD, for ``model.generate(..., logits_processor=[AdaCADLogitsProcessor(model, without_context)])``.

    Context-aware decoding, (1 + b) * ln p(v | context, x) - b * ln p(v | x), whose strength at each row and step is
    b = max(minimum, JSD(p(. | context, x), p(. | x))): Wang et al., *AdaCAD: Adaptively Decoding to Balance Conflicts between
    Contextual and Parametric Knowledge* (2024, arXiv 2409.07394). A context that changes nothing is not exaggerated, and one that
    contradicts the model is followed at b = ln 2 at most; the divergence is in nats, as released.

    The released code averages the divergence over a batch, which it therefore keeps at one row, and computes it in the model's own
    dtype; here every row has its own strength, in float32. Tokens that other processors banned have no part in the divergence.

    Args:
        model: The model that generates.
        without_context: For each prompt of the batch the one without context, as
            :class:`~counterpoint.decoders.ContextAwareLogitsProcessor` takes it.
        minimum: The least strength; 0 as released for questions, 0.3 as released for summaries. From ln 2 on the strength is
            constant, and this is context-aware decoding.
        prompt_length: Width of the real prompts, for loops other than ``generate``, which knows it.

    Raises:
        ValueError: For ``minimum`` < 0 and for prompts that :class:`~counterpoint.decoders.PromptAmateur` refuses.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import AdaCADLogitsProcessor
        >>> from counterpoint.eval import EXPERT
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> inputs = tokenizer("The captain was a woman. The captain said that", return_tensors="pt")
        >>> processor = AdaCADLogitsProcessor(model, tokenizer("The captain said that", return_tensors="pt"))
        >>> ids = model.generate(**inputs, logits_processor=[processor], max_new_tokens=10, do_sample=False)
    """

    def __init__(
        self, model: Model, without_context: Mapping[str, Tensor], *, minimum: float = 0.0, prompt_length: int | None = None
    ) -> None:
        if not 0 <= minimum < float("inf"):
            raise ValueError(f"minimum={minimum!r}: AdaCAD's least strength is 0 or more, e.g. minimum=0.3 for long answers")
        amateur = prompt_amateur(model, without_context, prompt_length)
        super().__init__(amateur, alpha=0.0, form=partial(adaptive_extrapolation, minimum=minimum))
