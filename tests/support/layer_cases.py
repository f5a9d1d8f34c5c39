"""DoLa, SLED and layer fusion as cases of the laws: what the library builds, and what it should give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

import layer_references as reference
from contrast_cases import other_prompt, other_prompts
from counterpoint.decoders import (
    DoLaLogitsProcessor,
    LayerFusionLogitsProcessor,
    PromptAmateur,
    SLEDLogitsProcessor,
    jensen_shannon,
)
from families import Family
from processor_laws import Batch, Case, Processor, Row, Score

GUIDANCE = 0.7


def deeper(family: Family, depth: int) -> PreTrainedModel:
    """A model of the same architecture with more layers, or fewer."""
    return replace(family, name=f"{family.name}_{depth}", config={**family.config, "num_hidden_layers": depth}).build()


def dola_case(layers: Sequence[int] = (0, 1, 2)) -> Case:
    """The layer is chosen for each row and step, by the released divergence."""

    def reference_score(model: PreTrainedModel) -> Score:
        def score(row: Row, scores: Tensor) -> Tensor:
            return reference.dola(scores, reference.exits(model, row.text[None], layers).early)

        return score

    return Case("DoLa", lambda model, batch: [DoLaLogitsProcessor(model, layers=layers)], reference_score, embeds=True)


def normed_dola_case() -> Case:
    """As the paper writes it: after the final norm, by the true divergence; other layers, another plausible set."""

    def build(model: PreTrainedModel, batch: Batch) -> list[Processor]:
        return [DoLaLogitsProcessor(model, layers=[1, 2], alpha=0.2, divergence=jensen_shannon, final_norm=True)]

    def reference_score(model: PreTrainedModel) -> Score:
        def score(row: Row, scores: Tensor) -> Tensor:
            early = reference.exits(model, row.text[None], [1, 2], final_norm=True).early
            return reference.dola(scores, early, 0.2, reference.jensen_shannon)

        return score

    return Case("DoLa as the paper", build, reference_score, embeds=True)


def sled_case() -> Case:
    """Several steps, larger than those recommended, so that the order of tokens changes."""

    def build(model: PreTrainedModel, batch: Batch) -> list[Processor]:
        return [SLEDLogitsProcessor(model, evolution_rate=4.0, evolution_scale=12, evolution_steps=3)]

    def reference_score(model: PreTrainedModel) -> Score:
        def score(row: Row, scores: Tensor) -> Tensor:
            final, early = reference.exits(model, row.text[None], range(model.config.num_hidden_layers))
            return reference.sled(scores, final, early, rate=4.0, scale=12, steps=3)

        return score

    return Case("SLED", build, reference_score, embeds=True)


PAIRS = {1: 1, 2: 2}


def fusion_case(amateur: PreTrainedModel, pairs: dict[int, int] = PAIRS, weights: Sequence[float] = (0.3, -0.5)) -> Case:
    """Two lower layers with weights of their own, and a guided prompt; ``pairs`` are the layers of original and amateur."""

    def build(model: PreTrainedModel, batch: Batch) -> list[Processor]:
        guide = PromptAmateur(model, other_prompts(model, batch.index))
        return [
            LayerFusionLogitsProcessor(model, amateur, layers=[*pairs], fusion_weight=weights, guide=guide, refocus_weight=GUIDANCE)
        ]

    def reference_score(model: PreTrainedModel) -> Score:
        def score(row: Row, scores: Tensor) -> Tensor:
            original = reference.exits(model, row.text[None], [*pairs])
            other = reference.exits(amateur, row.text[None], [*pairs.values()])
            guided = reference.exits(model, torch.cat([other_prompt(model, row.index), row.new])[None], [*pairs]).final
            lower = [reference.Pair(*pair) for pair in zip(original.early, other.early, strict=True)]
            return reference.fused(scores, other.final, lower, weights, guided, GUIDANCE)

        return score

    return Case("layer fusion", build, reference_score)


def chosen_fusion_case(amateur: PreTrainedModel, pairs: dict[int, int]) -> Case:
    """One lower layer, chosen by divergence."""
    weight, alpha = 0.8, 0.05
    settings: dict[str, Any] = {"fusion_weight": weight, "alpha": alpha, "divergence": jensen_shannon, "final_norm": True}

    def reference_score(model: PreTrainedModel) -> Score:
        def score(row: Row, scores: Tensor) -> Tensor:
            original = reference.exits(model, row.text[None], [*pairs], final_norm=True)
            other = reference.exits(amateur, row.text[None], [*pairs.values()], final_norm=True)
            chosen = reference.furthest(scores, original.early, reference.jensen_shannon)
            lower = [reference.Pair(original.early[chosen], other.early[chosen])]
            return reference.fused(scores, other.final, lower, [weight], alpha=alpha)

        return score

    return Case(
        "chosen layer fusion",
        lambda model, batch: [LayerFusionLogitsProcessor(model, amateur, layers=[*pairs], **settings)],
        reference_score,
    )
