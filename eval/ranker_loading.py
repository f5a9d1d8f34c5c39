"""Rankers by name: from their parameters on the command line to one that judges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from counterpoint.eval.errors import CommandError
from counterpoint.eval.loading import Loaded, choose_device, load
from counterpoint.eval.ranker_specs import RankerSpec
from counterpoint.rankers import (
    SMALL,
    CombinedRanker,
    ConsensusRanker,
    CrossEncoderRanker,
    LikelihoodRanker,
    OverlapRanker,
    Ranker,
    RankGenRanker,
    SentenceTransformerRanker,
    ngram_f1,
)

Values = dict[str, Any]
Model = Callable[[], Loaded]
"""Loads the model of ``--model``, or gives it if it is loaded already."""


def load_ranker(choices: Sequence[RankerSpec], model: Model, device: str | None) -> Ranker:
    """The ranker that is chosen, or the combination of several.

    Args:
        choices: One or more.
        model: The language model, for those that judge by it.
        device: As for :func:`~counterpoint.eval.loading.choose_device`.

    Raises:
        CommandError: If one cannot be loaded, or refuses its parameters.
    """
    rankers = []
    for choice in choices:
        values = {name: value for name, value in choice.values.items() if name != "weight"}
        try:
            rankers.append(BUILDERS[choice.kind.name](values, model, device))
        except (ValueError, OSError, ImportError) as error:
            raise CommandError(f"ranker {choice}: {error}") from error
    weights = [float(choice.values["weight"]) for choice in choices]
    if weights == [1.0]:
        return rankers[0]
    try:
        return CombinedRanker(rankers, weights=weights)
    except ValueError as error:
        raise CommandError(f"--ranker: {error}") from error


def small(values: Values, model: Model, device: str | None) -> Ranker:
    """The embedded ranker."""
    return RankGenRanker.from_pretrained(SMALL, device=choose_device(device))


def rankgen(values: Values, model: Model, device: str | None) -> Ranker:
    """RankGen, in float32 as released."""
    return RankGenRanker.from_pretrained(
        values["path"], truncation=values["truncation"], batch_size=values["batch_size"], device=choose_device(device)
    )


def sentence(values: Values, model: Model, device: str | None) -> Ranker:
    """A bi-encoder, with its own prompts unless others are given."""
    ranker = SentenceTransformerRanker(values["path"], device=str(choose_device(device)))
    prompts = {name: values[name] or None for name in ("prefix_prompt", "suffix_prompt")}
    return SentenceTransformerRanker(ranker.model, batch_size=values["batch_size"], **prompts)


def cross_encoder(values: Values, model: Model, device: str | None) -> Ranker:
    """A cross-encoder, with its own prompt unless another is given."""
    ranker = CrossEncoderRanker(values["path"], device=str(choose_device(device)))
    return CrossEncoderRanker(ranker.model, prompt=values["prompt"] or None, batch_size=values["batch_size"])


def likelihood(values: Values, model: Model, device: str | None) -> Ranker:
    """The likelihood under the language model itself, or another."""
    loaded = load(values["path"], device, "auto", trust_remote_code=False) if values["path"] else model()
    return LikelihoodRanker(loaded.model, loaded.tokenizer, form=values["form"])


def overlap(values: Values, model: Model, device: str | None) -> Ranker:
    """The share of n-grams that the prefix has too."""
    return OverlapRanker(n=values["n"])


def consensus(values: Values, model: Model, device: str | None) -> Ranker:
    """The mean F1 of n-grams with the other candidates."""
    return ConsensusRanker(utility=partial(ngram_f1, n=values["n"]))


BUILDERS: dict[str, Callable[[Values, Model, str | None], Ranker]] = {
    build.__name__: build for build in (small, rankgen, sentence, cross_encoder, likelihood, overlap, consensus)
}
