"""Rankers by name: what each is made of, and how ``NAME:key=value`` on a command line changes it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from counterpoint.eval.errors import UsageError
from counterpoint.eval.key_values import Ranges, Value, pairs, parse_values, suggestion


@dataclass(frozen=True)
class RankerKind:
    """A kind of ranker, with its parameters and their defaults."""

    name: str
    summary: str
    parameters: Mapping[str, Value] = field(default_factory=dict)
    needs_path: bool = False
    """Whether there is none without ``path``."""

    def check(self, values: Mapping[str, Value], way_out: str) -> None:
        """Raises a UsageError if a model is needed and there is none."""
        if self.needs_path and not values["path"]:
            raise UsageError(f"ranker {self.name} needs a model: {way_out}")


@dataclass(frozen=True)
class RankerSpec:
    """A ranker with the values that its parameters take."""

    kind: RankerKind
    values: Mapping[str, Value]

    def __str__(self) -> str:
        """The words that choose it on the command line, a weight of 1 left out."""
        shown = (f"{key}={value}" for key, value in self.values.items() if value != "" and (key, value) != ("weight", 1.0))
        return " ".join([self.kind.name, *shown])


RANKERS = {
    kind.name: kind
    for kind in (
        RankerKind("small", "the embedded ranker, a small RankGen"),
        RankerKind(
            "rankgen",
            "RankGen, a folder or a name on the Hugging Face hub",
            {"path": "", "truncation": "nearest", "batch_size": 32},
            needs_path=True,
        ),
        RankerKind(
            "sentence",
            "a bi-encoder of sentence-transformers",
            {"path": "", "prefix_prompt": "", "suffix_prompt": "", "batch_size": 32},
            needs_path=True,
        ),
        RankerKind(
            "cross_encoder",
            "a cross-encoder of sentence-transformers",
            {"path": "", "prompt": "", "batch_size": 32},
            needs_path=True,
        ),
        RankerKind(
            "likelihood",
            "a causal model's likelihood, by default --model's: log_likelihood, per_token or pmi",
            {"path": "", "form": "per_token"},
        ),
        RankerKind("overlap", "the share of n-grams that the prefix has too, without stopwords", {"n": 1}),
        RankerKind("consensus", "mean F1 of n-grams with the other candidates (minimum Bayes risk)", {"n": 1}),
    )
}

WEIGHT: Mapping[str, Value] = {"weight": 1.0}
"""What every ranker takes, for combinations."""

RANGES: Ranges = {
    "n": (1, math.inf),
    "batch_size": (1, math.inf),
    "weight": (-math.inf, math.inf),
}


def ranker_kind(name: str) -> RankerKind:
    """The kind of ranker of that name.

    Raises:
        UsageError: If there is none; the message lists those that are.
    """
    if name not in RANKERS:
        raise UsageError(f"unknown ranker {name!r}{suggestion(name, RANKERS)}; known: {', '.join(RANKERS)}")
    return RANKERS[name]


def parse_rankers(words: Sequence[str]) -> list[RankerSpec]:
    """The rankers that ``NAME``, ``NAME:key=value,...`` and ``NAME key=value ...`` choose, one after the other.

    Args:
        words: Names, each with what is attached to it or follows it.

    Raises:
        UsageError: For a name, a key or a kind of value that is not known, and for a ranker without the model it needs; the message
            lists those that are.

    Example:
        >>> from counterpoint.eval.ranker_specs import parse_rankers
        >>> [str(choice) for choice in parse_rankers(["overlap:n=2", "likelihood", "form=pmi", "weight=0.5"])]
        ['overlap n=2', 'likelihood form=pmi weight=0.5']
    """
    groups: list[list[str]] = []
    for word in words:
        is_name = ":" in word.partition("=")[0] or "=" not in word
        if is_name:
            groups.append([word])
        elif groups:
            groups[-1].append(word)
        else:
            raise UsageError(f"--ranker {word!r} names no ranker; known: {', '.join(RANKERS)}")
    return [parse_ranker(group) for group in groups]


def parse_ranker(words: Sequence[str]) -> RankerSpec:
    """One ranker: its name, with parameters attached or following."""
    name = words[0].partition(":")[0]
    kind = ranker_kind(name)
    known = {**kind.parameters, **WEIGHT}
    owner = f"ranker {name}"
    values = {**known, **parse_values(pairs(words, owner), known, owner, RANGES)}
    kind.check(values, f"{name}:path=FOLDER_OR_ID")
    return RankerSpec(kind, values)


def describe_rankers() -> str:
    """For every ranker a line with its name and what it is, and one with its parameters and their defaults if it has any."""
    width = max(map(len, RANKERS))
    lines = []
    for kind in RANKERS.values():
        lines.append(f"  {kind.name:<{width}}  {kind.summary}")
        if kind.parameters:
            lines.append("      " + " ".join(f"{key}={value}" for key, value in kind.parameters.items()))
    return "\n".join(
        [*lines, "All of them take weight too: several rankers are combined, by the weighted sum of standardised scores."]
    )
