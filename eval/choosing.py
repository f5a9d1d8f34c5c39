"""Decoders and rankers by name, as the command line and the benchmark choose them: the tables of both, joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from counterpoint.decoders.choosing.rows import DecoderRow, RankerRow
from counterpoint.decoders.choosing.specs import Spec, Table, check_distribution, parse
from counterpoint.decoders.named import DECODERS, PENALTIES
from counterpoint.decoders.named import TABLE as DECODER_TABLE
from counterpoint.rankers.named import RANKED, RANKER_TABLE, RANKERS

DecoderSpec = Spec[DecoderRow]
RankerSpec = Spec[RankerRow]

TABLE: Table[DecoderRow] = Table(
    {**DECODERS, **RANKED}, PENALTIES, DECODER_TABLE.own, {"decoder": DECODER_TABLE, "ranker": RANKER_TABLE}
)
"""Every decoder, those that a ranker makes among them."""


def parse_decoder(words: str | Sequence[str], *, scoring: bool = False, own: bool = True) -> DecoderSpec:
    """The decoder that ``NAME``, ``NAME key=value ...`` or ``NAME:key=value,...`` chooses.

    Args:
        words: The choice, or the name and then any number of ``key=value``.
        scoring: Whether it is to score given texts rather than to generate: defaults are then those of released scoring code.
        own: Whether somebody's own code may be named, which then runs; not in files.

    Raises:
        ValueError: For a name, a key or a kind of value that is not known, and for decoders without a distribution to score by; the
            message lists those that are.

    Example:
        >>> from counterpoint.eval.choosing import parse_decoder
        >>> str(parse_decoder(["nucleus", "top_p=0.9"]))
        'nucleus:top_p=0.9,top_k=0,temperature=1.0'
    """
    spec = parse(words, TABLE, scoring=scoring, own=own, hint=" (a prompt goes before the decoder's options)")
    if scoring:
        check_distribution(spec, TABLE.rows)
    check_ranked(spec)
    return spec


def check_ranked(spec: DecoderSpec) -> None:
    """A ranker chooses among several texts, so that what proposes them samples, or searches beams; rounds end before texts do.

    Raises:
        ValueError: If only one text is proposed, or if a ranker that judges whole texts would get beginnings.
    """
    rankers, proposals = spec.values.get("ranker"), spec.values.get("proposals")
    if not isinstance(rankers, tuple) or not isinstance(proposals, tuple):
        return
    whole: list[Any] = [each for each in rankers if isinstance(each.row, RankerRow) and each.row.whole_texts]
    if spec.name == "ranked_search" and whole:
        raise ValueError(f"decoder {spec.name}: {whole[0].name} judges whole texts, and rounds end before texts do; take best_of")
    proposer: Spec[Any] = proposals[0]
    samplers = [name for name, row in DECODERS.items() if row.sampling]
    if (proposer.sampling and proposer.row.kind != "callable") or (spec.name == "best_of" and proposer.name == "beam"):
        return
    raise ValueError(
        f"decoder {spec.name}: {proposer.name} proposes only one text, and a ranker chooses among several; take proposals=[...] of "
        f"{', '.join(samplers)}{', beam' if spec.name == 'best_of' else ''}"
    )


def parse_rankers(words: Sequence[str], *, own: bool = True) -> list[RankerSpec]:
    """The rankers that ``NAME``, ``NAME:key=value,...`` and ``NAME key=value ...`` choose, one after the other.

    Args:
        words: Names, each with what is attached to it or follows it.
        own: Whether somebody's own code may be named, which then runs.

    Raises:
        ValueError: For a name, a key or a kind of value that is not known, and for a ranker without the model it needs; the message
            lists those that are.

    Example:
        >>> from counterpoint.eval.choosing import parse_rankers
        >>> [spec.short() for spec in parse_rankers(["overlap:n=2", "likelihood", "form=pmi", "weight=0.5"])]
        ['overlap:n=2', 'likelihood:form=pmi,weight=0.5']
    """
    groups: list[list[str]] = []
    for word in words:
        is_name = ":" in word.partition("=")[0] or "=" not in word
        if is_name:
            groups.append([word])
        elif groups:
            groups[-1].append(word)
        else:
            raise ValueError(f"{word!r} names no ranker; known: {', '.join(RANKERS)}")
    return [parse(group, RANKER_TABLE, own=own) for group in groups]


def best_of(rankers: Sequence[RankerSpec], proposals: DecoderSpec | None, values: Mapping[str, object]) -> DecoderSpec:
    """What ``--ranker`` stands for: ``best_of``, or ``ranked_search`` where something is said of beams or rounds."""
    name = "ranked_search" if values.keys() & {"beams", "tokens_per_round"} else "best_of"
    given = {"ranker": tuple(rankers), **({} if proposals is None else {"proposals": (proposals,)}), **values}
    spec = parse(name, TABLE, given)
    check_ranked(spec)
    return spec


def describe_decoders() -> str:
    """For every decoder a line with its name and what it is, and one with its parameters and their defaults if it has any."""
    also = f"All of them also take {' and '.join(PENALTIES)}. Your own: package.module:Class or file.py:Class."
    return "\n".join([*described(TABLE.rows), also])


def describe_rankers() -> str:
    """For every ranker a line with its name and what it is, and one with its parameters and their defaults if it has any."""
    also = "All of them take weight too: several rankers are combined, by the weighted sum of standardised scores."
    return "\n".join([*described(RANKERS), also])


def described(rows: Mapping[str, DecoderRow] | Mapping[str, RankerRow]) -> list[str]:
    """Two lines a row: what it is, and its parameters."""
    width = max(map(len, rows))
    lines = []
    for row in rows.values():
        lines.append(f"  {row.name:<{width}}  {row.summary}")
        if row.parameters:
            lines.append("      " + " ".join(f"{key}={each.written_default()}" for key, each in row.parameters.items()))
    return lines
