"""Decoders by name: what each passes to ``generate``, and how ``NAME key=value`` on a command line changes it."""

from __future__ import annotations

import ast
import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from counterpoint.eval.errors import UsageError

Value = bool | int | float | str


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
    scoring: Mapping[str, Value] = field(default_factory=dict)
    """Defaults that the methods' released code has otherwise when it scores given texts."""


@dataclass(frozen=True)
class Choice:
    """A decoder with the values that its parameters take."""

    decoder: Decoder
    values: Mapping[str, Value]

    def __str__(self) -> str:
        """The words that choose it on the command line."""
        return " ".join([self.decoder.name, *(f"{key}={value}" for key, value in self.values.items() if value != "")])

    def generate_arguments(self) -> dict[str, Any]:
        """Keyword arguments for ``model.generate``."""
        if self.decoder.contrast:  # the rest is for its logits processors
            return {"do_sample": False}
        arguments: dict[str, Any] = {"do_sample": self.decoder.sampling, **self.values}
        if self.decoder.contrastive:
            arguments["custom_generate"] = getattr(importlib.import_module("counterpoint.decoders"), self.decoder.name)
        return arguments


AMATEUR: Mapping[str, Value] = {"amateur": "", "amateur_adapter": "", "amateur_prompt": ""}
"""Where an amateur comes from: a model, an adapter (of that model or of the expert), the expert after another text."""

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
        Decoder("context_aware", "with against without what precedes the last blank line", {"alpha": 0.5}, contrast=True),
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

RANGES: Mapping[str, tuple[float, float]] = {
    "top_p": (0, 1),
    "typical_p": (0, 1),
    "min_p": (0, 1),
    "penalty_alpha": (0, 1),
    "num_beams": (1, math.inf),
    "length_penalty": (-math.inf, math.inf),
    "evolution_lower_bound": (-math.inf, math.inf),
    "evolution_scale": (1, math.inf),
    "evolution_steps": (1, math.inf),
    "fusion_weight": (-math.inf, math.inf),
    "refocus_weight": (-math.inf, math.inf),
}
"""Smallest and largest values of numbers; those not listed are 0 or more."""

PENALTIES: Mapping[str, Value] = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0}
"""Parameters that every decoder takes, and passes on only if they are given."""


def parse_decoder(words: Sequence[str], scoring: bool = False) -> Choice:
    """The decoder that ``NAME``, ``NAME key=value ...`` or ``NAME:key=value,...`` chooses.

    Args:
        words: The name, then any number of ``key=value``; numbers, true and false are read as such.
        scoring: Whether it is to score given texts rather than to generate: defaults are then those of released scoring code.

    Raises:
        UsageError: For a name, a key or a kind of value that is not known, and for decoders without a distribution to score by; the
            message lists those that are.

    Example:
        >>> from counterpoint.eval.decoder_arguments import parse_decoder
        >>> str(parse_decoder(["nucleus:top_p=0.9"]))
        'nucleus top_p=0.9 top_k=0 temperature=1.0'
    """
    name, _, attached = words[0].partition(":")
    if name not in DECODERS:
        raise UsageError(f"unknown decoder {name!r}{suggestion(name, DECODERS)}; known: {', '.join(DECODERS)}")
    decoder = DECODERS[name]
    if scoring and name not in SCORABLE:
        raise UsageError(
            f"decoder {name}: the probability of a text is undefined under it, since it changes how tokens are chosen, not how "
            f"likely they are; decoders that score texts: {', '.join(SCORABLE)}"
        )
    known = {**decoder.parameters, **PENALTIES}
    values = {**decoder.parameters, **(decoder.scoring if scoring else {})}
    for word in [*filter(None, attached.split(",")), *words[1:]]:
        key, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"decoder {name}: {word!r} is not key=value (a prompt goes before the decoder's options)")
        if key not in known:
            raise UsageError(f"decoder {name} has no {key!r}{suggestion(key, known)}; it takes: {', '.join(known)}")
        values[key] = parse_value(key, text, known[key])
    return Choice(decoder, values)


def parse_value(key: str, text: str, default: Value, ranges: Mapping[str, tuple[int | float, int | float]] = RANGES) -> Value:
    """``text`` as a value of the default's type, within the parameter's range."""
    value = text if type(default) is str else literal(text)
    if type(default) is float and type(value) is int:
        value = float(value)
    kind = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[type(default)]
    if not isinstance(value, Value) or type(value) is not type(default):
        raise UsageError(f"{key}={text} is not {kind}; the default is {key}={default}")
    low, high = ranges.get(key, (0, math.inf))
    if isinstance(value, int | float) and not low <= value <= high:
        limits = f"between {low} and {high}" if high < math.inf else f"of {low} or more"
        raise UsageError(f"{key}={text} is not {kind} {limits}; the default is {key}={default}")
    return value


def literal(text: str) -> object:
    """A Python number or constant, ``true`` and ``false`` also in lower case, or else the text itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def suggestion(word: str, known: Mapping[str, object]) -> str:
    """A question to append to an error, if ``word`` looks like one that is known."""
    close = get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def describe_decoders() -> str:
    """For every decoder a line with its name and what it is, and one with its parameters and their defaults if it has any."""
    width = max(map(len, DECODERS))
    lines = []
    for decoder in DECODERS.values():
        lines.append(f"  {decoder.name:<{width}}  {decoder.summary}")
        if decoder.parameters:
            lines.append("      " + " ".join(f"{key}={value}" for key, value in decoder.parameters.items()))
    return "\n".join([*lines, f"All of them also take {' and '.join(PENALTIES)}."])
