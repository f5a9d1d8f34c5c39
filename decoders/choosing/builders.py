"""Decoders whose parameters, as text has them, are not yet their constructor's: one function each, read by its signature.

Layers come as ``"2+4"``, forms of contrast as their settings, other prompts as texts around the prompts that are continued.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from transformers import LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders.amateurs.head_lists import parse_heads
from counterpoint.decoders.amateurs.models import Amateur
from counterpoint.decoders.amateurs.prompts import LastTokenAmateur, PromptAmateur
from counterpoint.decoders.choosing.words import numbers
from counterpoint.decoders.contrasts.adacad import AdaCADLogitsProcessor
from counterpoint.decoders.contrasts.anti_language_models import NGramAntiLanguageModel
from counterpoint.decoders.contrasts.coiecd import COIECDLogitsProcessor
from counterpoint.decoders.contrasts.contrastive_decoding import (
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    as_amateur,
)
from counterpoint.decoders.contrasts.decore import DeCoReLogitsProcessor
from counterpoint.decoders.contrasts.forms import extrapolation, likelihood_ratio, log_ratio, released_likelihood_ratio
from counterpoint.decoders.contrasts.frustratingly_simple import FrustratinglySimpleLogitsProcessor
from counterpoint.decoders.contrasts.m3id import M3IDLogitsProcessor
from counterpoint.decoders.contrasts.released_contrastive_decoding import ReleasedContrastiveDecodingLogitsProcessor
from counterpoint.decoders.forwards.chats import MESSAGES, Chat, Prompt
from counterpoint.decoders.forwards.encoding import encode_prompt
from counterpoint.decoders.forwards.layers import depth_of
from counterpoint.decoders.forwards.ragged import padded
from counterpoint.decoders.layers.dola import DoLaLogitsProcessor
from counterpoint.decoders.layers.layer_fusion import LayerFusionLogitsProcessor
from counterpoint.decoders.speculative.speculative_contrastive_decoding import speculative_contrastive_decoding

Anyone = Amateur | PreTrainedModel


def contrastive_decoding(amateur: Anyone, *, alpha: float = 0.1, amateur_temperature: float = 1.0) -> LogitsProcessor:
    """The ratio ln p - ln q, with q at a temperature."""
    form = partial(likelihood_ratio, amateur_temperature=amateur_temperature)
    return ContrastiveDecodingLogitsProcessor(amateur, alpha=alpha, form=form)


def contrastive_reasoning(amateur: Anyone, *, alpha: float = 0.1, beta: float = 0.5) -> LogitsProcessor:
    """The extrapolation (1 + beta) ln p - beta ln q."""
    return ContrastiveDecodingLogitsProcessor(amateur, alpha=alpha, form=partial(extrapolation, beta=beta))


def induce_then_contrast(amateur: Anyone, *, alpha: float = 0.1, beta: float = 1.0) -> LogitsProcessor:
    """The ratio beta ln p - ln q."""
    return ContrastiveDecodingLogitsProcessor(amateur, alpha=alpha, form=partial(log_ratio, beta=beta))


def released_contrastive_decoding(
    amateur: Anyone, *, amateur_temperature: float = 0.5, coefficient: float = 1.0, last_token: bool = True
) -> LogitsProcessor:
    """A shortlist of all beams, and an amateur that sees the prompt's last token only."""
    form = partial(released_likelihood_ratio, amateur_temperature=amateur_temperature, coefficient=coefficient)
    model: Any = getattr(as_amateur(amateur), "model", None)
    if last_token and model is None:
        raise ValueError(f"last_token=True needs an amateur that is a model, not {type(amateur).__name__}")
    return ReleasedContrastiveDecodingLogitsProcessor(LastTokenAmateur(model) if last_token else amateur, form=form)


def speculative(
    *args: Any, amateur: Anyone, alpha: float = 0.1, amateur_temperature: float = 1.0, draft_tokens: int = 8, **kwargs: Any
) -> Any:
    """Contrastive decoding as above, in fewer forwards of the expert."""
    form = partial(likelihood_ratio, amateur_temperature=amateur_temperature)
    run: Any = speculative_contrastive_decoding
    return run(*args, amateur=amateur, alpha=alpha, form=form, draft_tokens=draft_tokens, **kwargs)


def context_aware(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], *, beta: float = 0.5, message: str = ""
) -> LogitsProcessor:
    """The prompt against what follows its last blank line; of a chat, the user's last message, or all but the system's."""
    return ContextAwareLogitsProcessor(model, questions(model, tokenizer, prompts, message), beta=beta)


def adacad(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    minimum: float = 0.0,
    message: str = "",
) -> LogitsProcessor:
    """The prompts of :func:`context_aware`, and a strength of each row and step."""
    return AdaCADLogitsProcessor(model, questions(model, tokenizer, prompts, message), minimum=minimum)


def coiecd(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    beta: float = 1.0,
    ratio: float = 4.0,
    message: str = "",
) -> LogitsProcessor:
    """The prompts of :func:`context_aware`, and a contrast of unusual tokens."""
    return COIECDLogitsProcessor(model, questions(model, tokenizer, prompts, message), beta=beta, ratio=ratio)


def m3id(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    rate: float = 0.02,
    alpha: float = 0.1,
    message: str = "",
) -> LogitsProcessor:
    """The prompts of :func:`context_aware`, and a strength that grows with the text."""
    return M3IDLogitsProcessor(model, questions(model, tokenizer, prompts, message), rate=rate, alpha=alpha)


def questions(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], message: str
) -> dict[str, Any]:
    """The prompts without their contexts, as a batch."""
    check_message(message, prompts)
    return prompt_batch(model, tokenizer, [without_context(prompt, message) for prompt in prompts])


def without_context(prompt: Prompt, message: str) -> Prompt:
    """A prompt without its context.

    Raises:
        ValueError: If it has none.
    """
    if isinstance(prompt, Chat):
        return prompt.without_context(message)
    context, _, question = prompt.rpartition("\n\n")
    if not context:
        raise ValueError("a prompt has no context: put it before the question, with a blank line between them")
    if not question.strip():
        raise ValueError("a prompt ends in a blank line, so that nothing follows its context: put the question after it")
    return question


def dola(model: PreTrainedModel, *, layers: str = "high", alpha: float = 0.1, final_norm: bool = False) -> LogitsProcessor:
    """The last layer against the early one that is the furthest from it."""
    indices = layers if layers in ("low", "high") else numbers("layers", layers)
    return DoLaLogitsProcessor(model, layers=indices, alpha=alpha, final_norm=final_norm)


def layer_fusion(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    amateur: Anyone,
    prompts: Sequence[Prompt] = (),
    *,
    layers: str = "middle",
    fusion_weight: float = 0.5,
    guide: str = "",
    message: str = "",
    refocus_weight: float = 0.0,
    alpha: float = 0.1,
) -> LogitsProcessor:
    """The amateur at several layers, and the guided prompt."""
    check_message(message, prompts)
    return LayerFusionLogitsProcessor(
        model,
        amateur,
        layers=[depth_of(model) // 2] if layers == "middle" else numbers("layers", layers),
        fusion_weight=fusion_weight,
        guide=after(model, tokenizer, guide, prompts, message) if guide else None,
        refocus_weight=refocus_weight,
        alpha=alpha,
    )


LOL_GUIDE = "Answer truthfully and say nothing that is false."
"""What refocuses truthfulness where nothing else is given; the paper's instruction was not public when this was written."""


def lol(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    amateur: Anyone,
    prompts: Sequence[Prompt],
    *,
    layers: str = "middle",
    fusion_weight: float = 0.5,
    guide: str = "",
    message: str = "",
    refocus_weight: float = 0.5,
    alpha: float = 0.1,
) -> LogitsProcessor:
    """Both halves of LOL: :func:`layer_fusion`, refocused by an instruction, which in a chat is the system's message."""
    check_message(message, prompts)
    return LayerFusionLogitsProcessor(
        model,
        amateur,
        layers=[depth_of(model) // 2] if layers == "middle" else numbers("layers", layers),
        fusion_weight=fusion_weight,
        guide=after(model, tokenizer, guide or LOL_GUIDE, prompts, message or "system") if refocus_weight else None,
        refocus_weight=refocus_weight,
        alpha=alpha,
    )


def decore(
    model: PreTrainedModel,
    *,
    heads: str = "",
    count: int = 50,
    beta: str = "entropy",
    cap: float = 0.0,
    mask: str = "uniform",
    alpha: float = 0.0,
) -> LogitsProcessor:
    """The model without its retrieval heads; a cap of 0 is none."""
    strength = None if beta == "entropy" else float(beta)
    return DeCoReLogitsProcessor(model, parse_heads(heads, count), beta=strength, cap=cap or math.inf, mask=mask, alpha=alpha)


def frustratingly_simple(*, penalty_alpha: float = 0.65, top_k: int = 3, n: int = 3) -> LogitsProcessor:
    """The n-gram form; the vector form takes a :class:`~counterpoint.decoders.VectorAntiLanguageModel` in Python."""
    return FrustratinglySimpleLogitsProcessor(NGramAntiLanguageModel(n=n), penalty_alpha=penalty_alpha, top_k=top_k)


def after(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    text: str,
    prompts: Sequence[Prompt] | None,
    message: str = "",
) -> PromptAmateur:
    """The model itself, with a text before each prompt; in a chat, before the user's last message, or in the system's.

    Raises:
        ValueError: If the prompts or the tokenizer are not known.
    """
    if tokenizer is None or not prompts:
        raise ValueError(f"the text {text!r} goes before the prompts: give tokenizer and prompts=[...]")
    others = [each.with_text(text, message) if isinstance(each, Chat) else f"{text}\n\n{each}" for each in prompts]
    return PromptAmateur(model, prompt_batch(model, tokenizer, others))


def check_message(message: str, prompts: Sequence[Prompt]) -> None:
    """Whether the prompts have such a message.

    Raises:
        ValueError: If not.
    """
    if message and message not in MESSAGES:
        raise ValueError(f"message={message} is not one of {', '.join(MESSAGES)}")
    if message and not all(isinstance(each, Chat) for each in prompts):
        raise ValueError(f"message={message}: the prompts are texts, and not chats that have messages")


def prompt_batch(model: PreTrainedModel, tokenizer: Any, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """The tokens of prompts, padded on the left, and their mask."""
    whole = bool(model.config.is_encoder_decoder)
    rows = [
        each.ids(tokenizer) if isinstance(each, Chat) else encode_prompt(tokenizer, each, is_encoder_decoder=whole)
        for each in prompts
    ]
    ids, mask = padded(rows, side="left", device=model.device)
    return {"input_ids": ids, "attention_mask": mask}
