"""Options such as ``--top-p`` that set a parameter of the one decoder that is named."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from counterpoint.decoders.choosing.sweeps import expanded
from counterpoint.decoders.named import PENALTIES
from counterpoint.eval.choosing import TABLE, DecoderSpec, parse_decoder
from counterpoint.eval.cli.errors import UsageError, usage_errors

ALIASES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "temperature": ("X", "divide the logits by X before tokens are drawn"),
        "top_p": ("P", "draw from the likeliest tokens whose probabilities add up to P"),
        "top_k": ("K", "draw from, or choose among, the K likeliest tokens"),
        "min_p": ("P", "draw from tokens at least P times as likely as the likeliest"),
        "typical_p": ("P", "draw from the locally typical tokens whose probabilities add up to P"),
        "num_beams": ("N", "number of beams"),
        "penalty_alpha": ("X", "weight of the degeneration penalty in contrastive search"),
        "repetition_penalty": ("X", "make tokens that are in the text already less likely, by a factor of X on their logits"),
    }
)
"""Parameters of decoders that are options as well, each with what its value is called and what it does."""


def option_of(name: str) -> str:
    """The option of a parameter or of a parsed argument."""
    return f"--{name.replace('_', '-')}"


def add_aliases(parser: argparse.ArgumentParser, decoder_option: str, **settings: Any) -> None:
    """Declare the options; their values stay text, which the decoder's own parameter reads."""
    group = parser.add_argument_group(
        "parameters of the one decoder that is named",
        f"{decoder_option} nucleus --top-p 0.9 is the same as {decoder_option} nucleus:top_p=0.9. With several decoders, write the "
        "parameter behind the name of its decoder.",
    )
    for name, (metavar, meaning) in ALIASES.items():
        group.add_argument(option_of(name), metavar=metavar, help=meaning, **settings)


@usage_errors()
def parse_named(option: str, named: Sequence[Sequence[str]], arguments: argparse.Namespace) -> list[DecoderSpec]:
    """The decoders that are named, with what the aliases among the arguments say of the only one.

    Args:
        option: Option that names them, for errors.
        named: Words of each decoder.
        arguments: Parsed arguments; those of :data:`ALIASES` that are missing or None are not given.

    Raises:
        UsageError: If a decoder is wrong, or an alias is given and no decoder has its parameter, several could have it or one has
            it twice; the message says how to write it.

    Example:
        >>> (spec,) = parse_named("--decoder", [["nucleus"]], argparse.Namespace(top_p="0.8"))
        >>> str(spec)
        'nucleus:top_p=0.8,top_k=0,temperature=1.0'
    """
    for words in named:
        check_one(option, words[0])
    specs = [parse_decoder(words) for words in named]
    given = {key: value for key in ALIASES if (value := vars(arguments).get(key)) is not None}
    for key, value in given.items():
        alias, pair = f"{option_of(key)} {value}", f"{key}={value}"
        if not specs:
            raise UsageError(f"{alias} needs the name of its decoder: {spellings(option, key, value)}")
        if len(specs) > 1:
            spelled = [
                attached(words[0], pair) if takes(spec, key) and not has(words, key) else words[0]
                for words, spec in zip(named, specs, strict=True)
            ]
            way_out = f"{option} {' '.join(spelled)}"
            raise UsageError(f"{alias} could be for any of several decoders; write it behind those it is for: {way_out}")
        if not takes(specs[0], key):
            way_out = spellings(option, key, value)
            raise UsageError(f"{alias}: decoder {specs[0].name} has no {key}; decoders that have it: {way_out}")
        if has(named[0], key):
            raise UsageError(f"{alias}: {option} has {key} already; give it once")
    if not given:
        return specs
    return [parse_decoder([*named[0], *(f"{key}={value}" for key, value in given.items())])]


@usage_errors()
def swept(words: Sequence[str]) -> list[list[str]]:
    """The words of each decoder where several are named, a sweep's one by one.

    Example:
        >>> swept(["greedy", "dola:layers=low|high"])
        [['greedy'], ['dola:layers=low'], ['dola:layers=high']]
    """
    return [[choice] for word in words for choice in expanded(word)]


def check_one(option: str, word: str) -> None:
    """Refuse decoders that commas join.

    Raises:
        UsageError: With how they are written.
    """
    names = word.split(",")
    if len(names) > 1 and all(name.partition(":")[0] in TABLE.rows for name in names):
        raise UsageError(f"{option}: {word} is one word; several decoders stand side by side: {option} {' '.join(names)}")


def takes(spec: DecoderSpec, key: str) -> bool:
    """Whether a decoder has the parameter."""
    return key in spec.values or key in PENALTIES


def has(words: Sequence[str], key: str) -> bool:
    """Whether the words of a decoder give it the parameter already."""
    return any(re.search(rf"(^|[:,]){key}=", word) for word in words)


def spellings(option: str, key: str, value: str) -> str:
    """How the parameter is written with each decoder that has it by itself."""
    return ", ".join(f"{option} {name}:{key}={value}" for name in decoders_with(key) or ["greedy"])


def decoders_with(key: str) -> list[str]:
    """The decoders that have a parameter of their own by this name."""
    return [name for name, row in TABLE.rows.items() if key in row.parameters]


def attached(word: str, pair: str) -> str:
    """A decoder's ``NAME`` or ``NAME:key=value`` with another parameter."""
    return f"{word}{',' if ':' in word else ':'}{pair}"
