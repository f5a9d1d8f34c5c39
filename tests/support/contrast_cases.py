"""Contrastive decoding and its kin as cases of the laws: what the library builds, and what it should give."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

import contrast_references as references
from counterpoint.decoders import (
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    DeCoReLogitsProcessor,
    EncoderDecoderAmateur,
    LastTokenAmateur,
    ModelAmateur,
    PooledAmateur,
    PromptAmateur,
    extrapolation,
    likelihood_ratio,
)
from families import Family, prompts
from processor_laws import LENGTHS, Batch, Case, Processor, Row, Score

OTHER_LENGTHS = (6, 9, 3)


def sibling(family: Family, seed: int = 100) -> PreTrainedModel:
    """Another model of the same architecture."""
    return replace(family, seed=family.seed + seed).build()


def other_prompts(model: PreTrainedModel, index: Sequence[int] = range(len(OTHER_LENGTHS))) -> dict[str, Tensor]:
    """The prompts without context of these rows of :data:`processor_laws.LENGTHS`, padded where there are several."""
    ids, mask = prompts(model, OTHER_LENGTHS, padding="right" if model.config.is_encoder_decoder else "left")
    ids, mask = ids[list(index)], mask[list(index)]
    kept = mask.any(dim=0)
    return {"input_ids": ids[:, kept], "attention_mask": mask[:, kept]}


def other_prompt(model: PreTrainedModel, index: int) -> Tensor:
    """The prompt without context of one row, ``[length]``."""
    return other_prompts(model, [index])["input_ids"][0]


def model_case(amateur: PreTrainedModel, alpha: float = 0.1) -> Case:
    """Li et al.: another decoder-only model."""

    def reference(model: PreTrainedModel) -> Score:
        def score(row: Row, scores: Tensor) -> Tensor:
            return references.contrast(scores, references.logits_after(amateur, row.text), references.ratio(), alpha)

        return score

    return Case("model amateur", lambda model, batch: [ContrastiveDecodingLogitsProcessor(amateur, alpha=alpha)], reference)


def reasoning_case(amateur: PreTrainedModel) -> Case:
    """O'Brien and Lewis, and a repetition of what the amateur is given."""

    def build(model: PreTrainedModel, batch: Batch) -> list[Processor]:
        return [ContrastiveDecodingLogitsProcessor(ModelAmateur(amateur), alpha=0.05, form=partial(extrapolation, beta=1.0))]

    def reference(model: PreTrainedModel) -> Score:
        def score(row: Row, scores: Tensor) -> Tensor:
            return references.contrast(scores, references.logits_after(amateur, row.text), references.power(1.0), 0.05)

        return score

    return Case("extrapolation", build, reference)


def context_case() -> Case:
    """Shi et al.: the same model without context."""

    def build(model: PreTrainedModel, batch: Batch) -> list[Processor]:
        return [ContextAwareLogitsProcessor(model, other_prompts(model, batch.index), beta=1.0)]

    def reference(model: PreTrainedModel) -> Score:
        def score(row: Row, scores: Tensor) -> Tensor:
            other = other_prompt(model, row.index)
            if model.config.is_encoder_decoder:
                negative = references.decoder_logits_after(model, other, row.text)
            else:
                negative = references.logits_after(model, torch.cat([other, row.new]))
            return references.contrast(scores, negative, references.power(1.0), alpha=0.0)

        return score

    return Case("context-aware decoding", build, reference, embeds=True)


def last_token_case(amateur: PreTrainedModel) -> Case:
    """Li et al. as released: of the prompt, the amateur sees the last token only."""

    def reference(model: PreTrainedModel) -> Score:
        def score(row: Row, scores: Tensor) -> Tensor:
            negative = references.logits_after(amateur, torch.cat([row.prompt[-1:], row.new]))
            return references.contrast(scores, negative, references.ratio(), alpha=0.1)

        return score

    return Case("last token", lambda model, batch: [ContrastiveDecodingLogitsProcessor(LastTokenAmateur(amateur))], reference)


def pooled_case(amateur: PreTrainedModel) -> Case:
    """Two amateurs of unequal weight against the expert and, as a second positive, itself under another prompt."""

    def build(model: PreTrainedModel, batch: Batch) -> list[Processor]:
        elsewhere = PromptAmateur(model, other_prompts(model, batch.index))
        negative = PooledAmateur(
            [ModelAmateur(amateur), PromptAmateur(amateur, other_prompts(model, batch.index))], weights=[0.25, 0.75]
        )
        form = partial(likelihood_ratio, amateur_temperature=2.0)
        return [ContrastiveDecodingLogitsProcessor(negative, alpha=0.2, form=form, positives=[elsewhere])]

    def reference(model: PreTrainedModel) -> Score:
        def score(row: Row, scores: Tensor) -> Tensor:
            elsewhere = torch.cat([other_prompt(model, row.index), row.new])
            positive = references.pool([scores, references.logits_after(model, elsewhere)], [0.5, 0.5])
            parts = [references.logits_after(amateur, text) for text in (row.text, elsewhere)]
            return references.contrast(positive, references.pool(parts, [0.25, 0.75]), references.ratio(2.0), alpha=0.2)

        return score

    return Case("pooled", build, reference)


def masked_heads_case() -> Case:
    """Gema et al.: the model without two of its heads, beside weights that give these heads queries of 0."""
    heads = [(0, 1), (1, 0)]

    def build(model: PreTrainedModel, batch: Batch) -> list[Processor]:
        return [DeCoReLogitsProcessor(model, heads)]

    def reference(model: PreTrainedModel) -> Score:
        masked: Any = copy.deepcopy(model)
        for layer, head in heads:
            attention = masked.model.layers[layer].self_attn
            columns = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
            attention.q_proj.weight.data[columns] = 0
            if attention.q_proj.bias is not None:
                attention.q_proj.bias.data[columns] = 0

        def score(row: Row, scores: Tensor) -> Tensor:
            return references.contrast(scores, references.logits_after(masked, row.text), references.entropy_power(), alpha=0.0)

        return score

    return Case("masked heads", build, reference)


def encoder_decoder_case(amateur: PreTrainedModel) -> Case:
    """Another encoder-decoder model over the prompts as they were when it was built."""

    def build(model: PreTrainedModel, batch: Batch) -> list[Processor]:
        inputs: dict[str, Any] = {"input_ids": batch.ids, "attention_mask": batch.mask}
        return [ContrastiveDecodingLogitsProcessor(EncoderDecoderAmateur(amateur, inputs))]

    def reference(model: PreTrainedModel) -> Score:
        def score(row: Row, scores: Tensor) -> Tensor:
            ids, mask = prompts(model, LENGTHS, padding="right")
            negative = references.decoder_logits_after(amateur, ids[row.index][mask[row.index].bool()], row.text)
            return references.contrast(scores, negative, references.ratio(), alpha=0.1)

        return score

    return Case("encoder-decoder amateur", build, reference)
