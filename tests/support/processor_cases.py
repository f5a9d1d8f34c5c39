"""Every processor that is held to the laws, and the families it is held to them on: one matrix for all.

A new processor gets its case in ``CASES`` and a pair in ``WHOLE``.
"""

from __future__ import annotations

from collections.abc import Callable

from transformers import PreTrainedModel

from contrast_cases import context_case, encoder_decoder_case, masked_heads_case, model_case, pooled_case, reasoning_case, sibling
from families import FAMILY, Family
from layer_cases import chosen_fusion_case, dola_case, fusion_case, normed_dola_case, sled_case
from processor_laws import Batch, Case, batch_of

CASES: dict[str, Callable[[Family], Case]] = {
    "model amateur": lambda family: model_case(sibling(family)),
    "extrapolation": lambda family: reasoning_case(sibling(family)),
    "pooled": lambda family: pooled_case(sibling(family)),
    "context-aware decoding": lambda family: context_case(),
    "masked heads": lambda family: masked_heads_case(),
    "encoder-decoder amateur": lambda family: encoder_decoder_case(sibling(family)),
    "DoLa": lambda family: dola_case(),
    "DoLa as the paper": lambda family: normed_dola_case(),
    "SLED": lambda family: sled_case(),
    "layer fusion": lambda family: fusion_case(sibling(family)),
    "chosen layer fusion": lambda family: chosen_fusion_case(sibling(family), {0: 0, 1: 1, 2: 2}),
}
WHOLE = [
    *((name, "model amateur") for name in ("llama", "gpt2_tied", "gemma3_sliding", "bloom", "mamba")),
    ("llama", "extrapolation"),
    ("llama", "pooled"),
    ("llama", "context-aware decoding"),
    ("gemma3_sliding", "context-aware decoding"),
    ("llama", "masked heads"),
    ("bart", "encoder-decoder amateur"),
    ("t5", "context-aware decoding"),
    ("llama", "DoLa"),
    ("llama", "SLED"),
    ("llama", "layer fusion"),
    ("gemma3_sliding", "DoLa"),
]
"""Families and cases that run in every mode and under every law."""
OTHERS = [
    ("gpt2_tied", "DoLa as the paper"),
    ("mistral_sliding", "SLED"),
    ("gemma3_sliding", "layer fusion"),
    ("bloom", "chosen layer fusion"),
    ("gemma3_sliding", "masked heads"),
    ("opt_350m", "DoLa"),
    ("cohere", "layer fusion"),
    ("mamba", "SLED"),
    ("mamba", "layer fusion"),
]
"""Those that run in modes that treat rows differently."""
FEW = ["greedy", "beams", "beam sample", "finished rows", "penalty before", "few allowed tokens"]
STATES = [*WHOLE, ("bloom", "chosen layer fusion"), ("mamba", "SLED")]
"""Those whose states could meet or change."""
DRAFTED = [*WHOLE, ("mistral_sliding", "SLED"), ("opt_350m", "DoLa")]
"""Those that assisted decoding works with, mamba apart, which transformers does not assist."""


def subject(name: str, case: str) -> tuple[Case, PreTrainedModel, Batch]:
    """A case, its model and its prompts."""
    family = FAMILY[name]
    model = family.build()
    return CASES[case](family), model, batch_of(family, model)
