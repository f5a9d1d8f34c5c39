"""Ranked decoders by name: from their parameters on the command line to the search and its ranker."""

from __future__ import annotations

from functools import cache
from typing import Any

from counterpoint.eval.decoder_specs import DecoderSpec
from counterpoint.eval.loading import Loaded
from counterpoint.eval.ranker_loading import load_ranker
from counterpoint.eval.ranker_specs import RankerSpec, ranker_kind
from counterpoint.rankers import Ranker, ranked_search

ONCE: dict[str, Any] = {"beams": 1, "tokens_per_round": None}
"""What makes the search over-generation and reranking."""


def search_arguments(choice: DecoderSpec, loaded: Loaded) -> dict[str, Any]:
    """Keyword arguments of a decoder for ``model.generate`` that make it a ranked one; none for the others.

    Raises:
        CommandError: If the ranker cannot be loaded, or refuses its parameters.
    """
    if not choice.decoder.ranked:
        return {}
    values: dict[str, Any] = choice.ranking()
    kind = ranker_kind(values.pop("ranker"))
    parameters = tuple((name, values.pop(name)) for name in kind.parameters)
    found = ranker(kind.name, parameters, loaded)
    return {"custom_generate": ranked_search, "ranker": found, "processing_class": loaded.tokenizer, **ONCE, **values}


@cache
def ranker(name: str, parameters: tuple[tuple[str, Any], ...], loaded: Loaded) -> Ranker:
    """A ranker, loaded once, on the model's device."""
    choice = RankerSpec(ranker_kind(name), {**dict(parameters), "weight": 1.0})
    return load_ranker([choice], lambda: loaded, str(loaded.model.device))
