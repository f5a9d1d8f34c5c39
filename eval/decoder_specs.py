"""Decoders by name: what each passes to ``generate``, and how ``NAME key=value`` on a command line changes it."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from counterpoint.eval.errors import UsageError
from counterpoint.eval.key_values import Ranges, Value, pairs, parse_values, suggestion
from counterpoint.eval.ranker_specs import RANGES as RANKER_RANGES
from counterpoint.eval.ranker_specs import ranker_kind


@dataclass(frozen=True)
class Decoder:
    """A decoding method, with its parameters and their defaults."""

    name: str
    summary: str
    parameters: Mapping[str, Value] = field(default_factory=dict)
    sampling: bool = False
    contrastive: bool = False
    """Whether it is one of :mod:`counterpoint.decoders`, under its name there."""
    streams: bool = True
    contrast: bool = False
    """Whether it is a logits processor, built by :mod:`counterpoint.eval.contrasts`, and so can score given texts."""
    ranked: bool = False
    """Whether a ranker chooses among samples; it takes the parameters of the ranker as well."""
    scoring: Mapping[str, Value] = field(default_factory=dict)
    """Defaults that the methods' released code has otherwise when it scores given texts."""


@dataclass(frozen=True)
class DecoderSpec:
    """A decoder with the values that its parameters take."""

    decoder: Decoder
    values: Mapping[str, Value]

    def __str__(self) -> str:
        """The words that choose it on the command line."""
        return " ".join([self.decoder.name, *(f"{key}={value}" for key, value in self.values.items() if value != "")])

    def generate_arguments(self) -> dict[str, Any]:
        """Keyword arguments for ``model.generate``, but for what is made of models: logits processors, rankers."""
        if self.decoder.contrast:  # the rest is for its logits processors
            return {"do_sample": False}
        ranking = self.ranking() if self.decoder.ranked else {}
        own = {name: value for name, value in self.values.items() if name not in ranking}
        arguments: dict[str, Any] = {"do_sample": self.decoder.sampling, **own}
        if self.decoder.contrastive:
            arguments["custom_generate"] = getattr(importlib.import_module("counterpoint.decoders"), self.decoder.name)
        return arguments

    def ranking(self) -> dict[str, Value]:
        """What is for the search by a ranker, and for the ranker."""
        own = {*SEARCH, "ranker", *ranker_kind(str(self.values["ranker"])).parameters}
        return {name: value for name, value in self.values.items() if name in own}


AMATEUR: Mapping[str, Value] = {"amateur": "", "amateur_adapter": "", "amateur_prompt": ""}
"""Where an amateur comes from: a model, an adapter (of that model or of the expert), the expert after another text."""

SEARCH: Mapping[str, Value] = {"beams": 2, "samples": 10, "tokens_per_round": 20}
"""Of RankGen's beam search, as released."""

NUCLEUS: Mapping[str, Value] = {"top_p": 0.9, "top_k": 0, "temperature": 1.0}
"""What RankGen's authors sampled from."""

# The defaults are the settings that papers on open-ended generation compare; top_k=0 is no limit.
DECODERS = {
    decoder.name: decoder
    for decoder in (
        Decoder("greedy", "the most probable token"),
        Decoder("beam", "beam search", {"num_beams": 4, "length_penalty": 1.0}, streams=False),
        Decoder("sample", "sampling from the model", {"temperature": 1.0, "top_k": 0}, sampling=True),
        Decoder("nucleus", "nucleus sampling", {"top_p": 0.95, "top_k": 0, "temperature": 1.0}, sampling=True),
        Decoder("top_k", "top-k sampling", {"top_k": 50, "temperature": 1.0}, sampling=True),
        Decoder("typical", "locally typical sampling", {"typical_p": 0.95, "top_k": 0, "temperature": 1.0}, sampling=True),
        Decoder("min_p", "min-p sampling", {"min_p": 0.1, "top_k": 0, "temperature": 1.0}, sampling=True),
        Decoder("best_of", "the best of samples, by a ranker", {"ranker": "small", "samples": 20, **NUCLEUS}, True, ranked=True),
        Decoder("ranked_search", "beams that a ranker chooses", {"ranker": "small", **SEARCH, **NUCLEUS}, True, ranked=True),
        Decoder("contrastive_search", "contrastive search", {"penalty_alpha": 0.6, "top_k": 5}, contrastive=True),
        Decoder("adaptive_contrastive_search", "k and alpha from uncertainty", {"entropy_scale": 1.0}, contrastive=True),
        Decoder(
            "contrastive_decoding",
            "an expert against an amateur",
            {**AMATEUR, "alpha": 0.1, "amateur_temperature": 1.0},
            contrast=True,
            scoring={"alpha": 0.0},
        ),
        Decoder(
            "contrastive_reasoning",
            "contrastive decoding for reasoning",
            {**AMATEUR, "alpha": 0.1, "beta": 0.5},
            contrast=True,
            scoring={"alpha": 0.0},
        ),
        Decoder(
            "induce_then_contrast",
            "an amateur that was taught to hallucinate",
            {**AMATEUR, "alpha": 0.1, "beta": 1.0},
            contrast=True,
            scoring={"alpha": 0.0},
        ),
        Decoder("context_aware", "with against without what precedes the last blank line", {"beta": 0.5}, contrast=True),
        Decoder(
            "dola",
            "the last layer against an early one",
            {"layers": "high", "alpha": 0.1, "final_norm": False},
            contrast=True,
            scoring={"alpha": 0.0},
        ),
        Decoder(
            "sled",
            "logits that evolve against the early layers'",
            {"evolution_rate": 2.0, "evolution_scale": 10, "evolution_steps": 1, "evolution_lower_bound": -1000.0},
            contrast=True,
            scoring={"evolution_steps": 10, "evolution_lower_bound": -100.0},
        ),
        Decoder(
            "layer_fusion",
            "an amateur at several layers, refocused by a guide",
            {**AMATEUR, "layers": "middle", "fusion_weight": 0.5, "guide": "", "refocus_weight": 0.0, "alpha": 0.1},
            contrast=True,
            scoring={"alpha": 0.0},
        ),
    )
}

SCORABLE = ("greedy", *(name for name, decoder in DECODERS.items() if decoder.contrast))
"""Decoders that score given texts; greedy stands for the model itself."""

RANGES: Ranges = {
    "top_p": (0, 1),
    "typical_p": (0, 1),
    "min_p": (0, 1),
    "penalty_alpha": (0, 1),
    "num_beams": (1, math.inf),
    **dict.fromkeys(SEARCH, (1, math.inf)),
    **RANKER_RANGES,
    "length_penalty": (-math.inf, math.inf),
    "evolution_lower_bound": (-math.inf, math.inf),
    "evolution_scale": (1, math.inf),
    "evolution_steps": (1, math.inf),
    "fusion_weight": (-math.inf, math.inf),
    "refocus_weight": (-math.inf, math.inf),
}

PENALTIES: Mapping[str, Value] = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0}
"""Parameters that every decoder takes, and passes on only if they are given."""


def parse_decoder(words: Sequence[str], scoring: bool = False) -> DecoderSpec:
    """The decoder that ``NAME``, ``NAME key=value ...`` or ``NAME:key=value,...`` chooses.

    Args:
        words: The name, then any number of ``key=value``; numbers, true and false are read as such.
        scoring: Whether it is to score given texts rather than to generate: defaults are then those of released scoring code.

    Raises:
        UsageError: For a name, a key or a kind of value that is not known, and for decoders without a distribution to score by; the
            message lists those that are.

    Example:
        >>> from counterpoint.eval.decoder_specs import parse_decoder
        >>> str(parse_decoder(["nucleus:top_p=0.9"]))
        'nucleus top_p=0.9 top_k=0 temperature=1.0'
    """
    name = words[0].partition(":")[0]
    if name not in DECODERS:
        raise UsageError(f"unknown decoder {name!r}{suggestion(name, DECODERS)}; known: {', '.join(DECODERS)}")
    decoder = DECODERS[name]
    if scoring and name not in SCORABLE:
        raise UsageError(
            f"decoder {name}: the probability of a text is undefined under it, since it changes how tokens are chosen, not how "
            f"likely they are; decoders that score texts: {', '.join(SCORABLE)}"
        )
    owner = f"decoder {name}"
    given = pairs(words, owner, " (a prompt goes before the decoder's options)")
    values = {**decoder.parameters, **(decoder.scoring if scoring else {})}
    if decoder.ranked:
        values |= ranker_kind(dict(given).get("ranker", str(values["ranker"]))).parameters
    values |= parse_values(given, {**values, **PENALTIES}, owner, RANGES)
    if decoder.ranked:
        ranker_kind(str(values["ranker"])).check(values, f"{name}:ranker={values['ranker']},path=FOLDER_OR_ID")
    return DecoderSpec(decoder, values)


def describe_decoders() -> str:
    """For every decoder a line with its name and what it is, and one with its parameters and their defaults if it has any."""
    width = max(map(len, DECODERS))
    lines = []
    for decoder in DECODERS.values():
        lines.append(f"  {decoder.name:<{width}}  {decoder.summary}")
        if decoder.parameters:
            lines.append("      " + " ".join(f"{key}={value}" for key, value in decoder.parameters.items()))
    ranked = " and ".join(decoder.name for decoder in DECODERS.values() if decoder.ranked)
    lines.append(f"All of them also take {' and '.join(PENALTIES)}; {ranked} also what their ranker takes.")
    return "\n".join(lines)
