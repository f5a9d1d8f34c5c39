"""Every decoder by name: the one table that Python, the command line, the benchmark and the docs read.

Reading it needs no torch. Defaults are those of papers that compare decoders on open-ended text; ``top_k=0`` is no limit. A row's
``target`` is resolved when the decoder is used, and its parameters, with their defaults, are those of the target's signature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from counterpoint.decoders.amateurs.head_lists import parse_heads
from counterpoint.decoders.choosing.own import own_decoder
from counterpoint.decoders.choosing.rows import AMATEUR, DecoderRow, Parameter
from counterpoint.decoders.choosing.specs import Table
from counterpoint.decoders.choosing.words import layers_or, number_or, one_of

TEMPERATURE = {"temperature": Parameter(1.0, exclusive=True)}
NO_LIMIT = {"top_k": Parameter(0)}
ALPHA = {"alpha": Parameter(0.1, 0, 1, scoring=0.0)}
"""The plausibility constraint; released scoring code leaves it out."""
MESSAGE = {"message": Parameter("", check=one_of("", "user", "system"))}
ANY_WEIGHT = Parameter(0.0, -math.inf)

HERE = "counterpoint.decoders"
BUILDERS = f"{HERE}.choosing.builders"

DECODERS: Mapping[str, DecoderRow] = {
    row.name: row
    for row in (
        DecoderRow("greedy", "the most probable token", distribution=True),
        DecoderRow(
            "beam",
            "beam search",
            parameters={"num_beams": Parameter(4, 1), "length_penalty": Parameter(1.0, -math.inf)},
            streams=False,
            rows="num_beams",
        ),
        DecoderRow("sample", "sampling from the model", parameters={**TEMPERATURE, **NO_LIMIT}, sampling=True),
        DecoderRow(
            "nucleus",
            "nucleus sampling",
            parameters={"top_p": Parameter(0.95, 0, 1), **NO_LIMIT, **TEMPERATURE},
            sampling=True,
        ),
        DecoderRow("top_k", "top-k sampling", parameters={"top_k": Parameter(50), **TEMPERATURE}, sampling=True),
        DecoderRow(
            "typical",
            "locally typical sampling",
            parameters={"typical_p": Parameter(0.95, 0, 1, exclusive=True), **NO_LIMIT, **TEMPERATURE},
            sampling=True,
        ),
        DecoderRow("min_p", "min-p sampling", parameters={"min_p": Parameter(0.1, 0, 1), **NO_LIMIT, **TEMPERATURE}, sampling=True),
        DecoderRow(
            "top_n_sigma",
            "sampling among logits within n standard deviations of the largest",
            f"{HERE}:TopNSigmaLogitsProcessor",
            {"n": Parameter(1.0), "min_tokens_to_keep": Parameter(1, 1), **NO_LIMIT, **TEMPERATURE},
            "processor",
            sampling=True,
            distribution=True,
        ),
        DecoderRow(
            "p_less",
            "sampling among tokens likelier than two draws are to agree",
            f"{HERE}:PLessLogitsProcessor",
            {"norm": Parameter(False), "min_tokens_to_keep": Parameter(1, 1), **NO_LIMIT, **TEMPERATURE},
            "processor",
            sampling=True,
            distribution=True,
        ),
        DecoderRow(
            "contrastive_search",
            "candidates against the context: likely tokens unlike anything before",
            f"{HERE}:contrastive_search",
            {"penalty_alpha": Parameter(0.6, 0, 1), "top_k": Parameter(5, 1)},
            "callable",
            rows="top_k",
        ),
        DecoderRow(
            "adaptive_contrastive_search",
            "contrastive search whose k and alpha follow the model's uncertainty",
            f"{HERE}:adaptive_contrastive_search",
            {"entropy_scale": Parameter(1.0, exclusive=True)},
            "callable",
            rows=15,
        ),
        DecoderRow(
            "contrastive_decoding",
            "an expert against an amateur",
            f"{BUILDERS}:contrastive_decoding",
            {**AMATEUR, **ALPHA, "amateur_temperature": Parameter(1.0, exclusive=True)},
            "processor",
            distribution=True,
            needs=("amateur",),
        ),
        DecoderRow(
            "contrastive_reasoning",
            "contrastive decoding for reasoning",
            f"{BUILDERS}:contrastive_reasoning",
            {**AMATEUR, **ALPHA, "beta": Parameter(0.5)},
            "processor",
            distribution=True,
            needs=("amateur",),
        ),
        DecoderRow(
            "released_contrastive_decoding",
            "contrastive decoding's beam search as released",
            f"{BUILDERS}:released_contrastive_decoding",
            {
                **AMATEUR,
                "num_beams": Parameter(5, 2),
                "amateur_temperature": Parameter(0.5, exclusive=True),
                "coefficient": Parameter(1.0),
                "last_token": Parameter(True),
            },
            "processor",
            streams=False,
            needs=("amateur",),
            rows="num_beams",
        ),
        DecoderRow(
            "speculative_contrastive_decoding",
            "contrastive decoding in fewer forwards of the expert",
            f"{BUILDERS}:speculative",
            {
                **AMATEUR,
                "alpha": Parameter(0.1, 0, 1),
                "amateur_temperature": Parameter(1.0, exclusive=True),
                "draft_tokens": Parameter(8),
            },
            "callable",
            batched=False,
            needs=("amateur",),
            rows="draft_tokens",
        ),
        DecoderRow(
            "induce_then_contrast",
            "an amateur that was taught to hallucinate",
            f"{BUILDERS}:induce_then_contrast",
            {**AMATEUR, **ALPHA, "beta": Parameter(1.0)},
            "processor",
            distribution=True,
            needs=("amateur",),
        ),
        DecoderRow(
            "context_aware",
            "with against without what precedes the last blank line",
            f"{BUILDERS}:context_aware",
            {"beta": Parameter(0.5), **MESSAGE},
            "processor",
            distribution=True,
            needs=("prompts",),
        ),
        DecoderRow(
            "adacad",
            "context_aware as strong as the context changes the model",
            f"{BUILDERS}:adacad",
            {"minimum": Parameter(0.0), **MESSAGE},
            "processor",
            distribution=True,
            needs=("prompts",),
        ),
        DecoderRow(
            "coiecd",
            "context_aware for the tokens that the context makes unusually likely",
            f"{BUILDERS}:coiecd",
            {"beta": Parameter(1.0), "ratio": Parameter(4.0, 1), **MESSAGE},
            "processor",
            distribution=True,
            needs=("prompts",),
        ),
        DecoderRow(
            "m3id",
            "context_aware that gets stronger as the text gets longer",
            f"{BUILDERS}:m3id",
            {"rate": Parameter(0.02), **ALPHA, **MESSAGE},
            "processor",
            distribution=True,
            needs=("prompts",),
        ),
        DecoderRow(
            "visual_contrastive",
            "a picture against a worse view of it: noise (VCD), none (M3ID) or after an instruction",
            f"{HERE}.choosing.pictures:visual_contrastive",
            {
                "image": Parameter(""),
                "view": Parameter("noise", check=one_of("noise", "none", "instruction")),
                "beta": Parameter(1.0),
                **ALPHA,
                "noise_step": Parameter(500, 0, 999),
                "rate": Parameter(0.0),
                "instruction": Parameter(""),
                "seed": Parameter(0),
            },
            "processor",
            distribution=True,
            needs=("prompts", "processor"),
        ),
        DecoderRow(
            "decore",
            "the model against itself without its retrieval heads",
            f"{BUILDERS}:decore",
            {
                "heads": Parameter(""),
                "count": Parameter(50),
                "beta": Parameter("entropy", check=number_or("entropy")),
                "cap": Parameter(0.0),
                "mask": Parameter("uniform", check=one_of("uniform", "zero")),
                "alpha": Parameter(0.0, 0, 1),
            },
            "processor",
            distribution=True,
            check=lambda values: parse_heads(values["heads"], values["count"]),
        ),
        DecoderRow(
            "dola",
            "the last layer against an early one",
            f"{BUILDERS}:dola",
            {"layers": Parameter("high", check=layers_or("low", "high")), **ALPHA, "final_norm": Parameter(False)},
            "processor",
            distribution=True,
        ),
        DecoderRow(
            "sled",
            "logits that evolve against the early layers'",
            f"{HERE}:SLEDLogitsProcessor",
            {
                "evolution_rate": Parameter(2.0),
                "evolution_scale": Parameter(10, 1),
                "evolution_steps": Parameter(1, 1, scoring=10),
                "evolution_lower_bound": Parameter(-1000.0, -math.inf, scoring=-100.0),
                "final_norm": Parameter(False),
            },
            "processor",
            distribution=True,
        ),
        DecoderRow(
            "released_sled",
            "sled whose scores of given texts are raw logits, as released; with --no-renormalise",
            f"{HERE}:ReleasedSLEDLogitsProcessor",
            {
                "evolution_rate": Parameter(2.0),
                "evolution_scale": Parameter(10, 1),
                "evolution_steps": Parameter(1, 1, scoring=10),
                "evolution_lower_bound": Parameter(-1000.0, -math.inf, scoring=-100.0),
                "final_norm": Parameter(False),
            },
            "processor",
            distribution=True,
        ),
        DecoderRow(
            "layer_fusion",
            "an amateur at several layers, refocused by a guide",
            f"{BUILDERS}:layer_fusion",
            {
                **AMATEUR,
                "layers": Parameter("middle", check=layers_or("middle")),
                "fusion_weight": Parameter(0.5, -math.inf),
                "guide": Parameter(""),
                **MESSAGE,
                "refocus_weight": ANY_WEIGHT,
                **ALPHA,
            },
            "processor",
            distribution=True,
            needs=("amateur",),
        ),
        DecoderRow(
            "lol",
            "layer_fusion, refocused on truthfulness by an instruction",
            f"{BUILDERS}:lol",
            {
                **AMATEUR,
                "layers": Parameter("middle", check=layers_or("middle")),
                "fusion_weight": Parameter(0.5, -math.inf),
                "guide": Parameter(""),
                **MESSAGE,
                "refocus_weight": Parameter(0.5, -math.inf),
                **ALPHA,
            },
            "processor",
            distribution=True,
            needs=("amateur", "prompts"),
        ),
        DecoderRow(
            "frustratingly_simple",
            "the model against n-grams of the text so far",
            f"{BUILDERS}:frustratingly_simple",
            {"penalty_alpha": Parameter(0.65, 0, 1), "top_k": Parameter(3, 1), "n": Parameter(3, 1)},
            "processor",
            distribution=True,
        ),
    )
}

PENALTIES = {"repetition_penalty": Parameter(1.0, exclusive=True), "no_repeat_ngram_size": Parameter(0)}
"""What every decoder takes besides, and passes on only if it is given."""

TABLE: Table[DecoderRow] = Table(DECODERS, PENALTIES, own_decoder)


def decoders() -> dict[str, DecoderRow]:
    """The table: every decoder's row by its name.

    Example:
        >>> from counterpoint.decoders import decoders
        >>> decoders()["contrastive_search"].summary
        'candidates against the context: likely tokens unlike anything before'
    """
    return dict(DECODERS)
