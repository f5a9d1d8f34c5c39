"""Several values of a parameter in one choice, ``dola:layers=low|high``, wherever several decoders are named."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from counterpoint.decoders.choosing.grammar import name_and_rest, split_at, split_pair


def expanded(choice: str) -> list[str]:
    """Every choice that a sweep stands for: one for each combination of its values, the last parameter's changing first.

    ``|`` stands between values, in nested choices too; within quotes it is itself.

    Raises:
        ValueError: For a value that is left out beside ``|``, and for quotes or brackets that are left open.

    Example:
        >>> from counterpoint.decoders.choosing.sweeps import expanded
        >>> expanded("contrastive_search:penalty_alpha=0.4|0.6,top_k=4")
        ['contrastive_search:penalty_alpha=0.4,top_k=4', 'contrastive_search:penalty_alpha=0.6,top_k=4']
        >>> expanded("best_of:ranker=[overlap:n=1|2]+[likelihood]")
        ['best_of:ranker=[overlap:n=1]+[likelihood]', 'best_of:ranker=[overlap:n=2]+[likelihood]']
    """
    name, rest = name_and_rest(choice)
    if "|" not in rest:
        return [choice]  # as it was written
    pairs = [split_pair(pair, name) for pair in split_at(rest, ",", bars=True) if pair]
    values = [[f"{key}={value}" for value in alternatives(text, f"{name}: {key}")] for key, text in pairs]
    return [f"{name}:{','.join(each)}" for each in product(*values)]


def alternatives(value: str, where: str) -> Iterator[str]:
    """The values that stand side by side in one."""
    parts = split_at(value, "|", bars=True)
    for part in parts:
        if len(parts) > 1 and not part.strip():
            raise ValueError(f'{where}={value} leaves a value out beside |; write "" for an empty text')
        nested = [
            [f"[{each}]" for each in expanded(inner[1:-1])] if inner.startswith("[") and inner.endswith("]") else [inner]
            for inner in split_at(part, "+", bars=True)
        ]
        yield from ("+".join(each) for each in product(*nested))
