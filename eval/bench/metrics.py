"""The metrics of ``counterpoint bench``: what they are called, and what each makes of one decoder's texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from counterpoint.eval.metrics.distinct import distinct_n
from counterpoint.eval.metrics.frequencies import zipf
from counterpoint.eval.metrics.length import ends_in_loop
from counterpoint.eval.metrics.repetition import distinct_and_all, repeated, without_repetition
from counterpoint.eval.metrics.self_bleu import self_bleu
from counterpoint.eval.metrics.significance import standard_error
from counterpoint.rankers.ngrams import words

if TYPE_CHECKING:
    from torch import Tensor

    from counterpoint.eval.bench.metric_models import MetricModels


@dataclass(frozen=True)
class Group:
    """The texts of one decoder under one seed, in the order of their prompts."""

    indices: Sequence[int]
    prompts: Sequence[str]
    texts: Sequence[str]
    references: Sequence[str | None]


@dataclass(frozen=True)
class Column:
    """One figure of a metric."""

    title: str
    """What it is called where people read it."""
    better: Literal["higher", "lower", "human"]
    """Which values are good; "human": those of human texts, where there are any."""
    combine: Callable[[Tensor], Tensor] | None = None
    """The figure from sums over texts, ``[..., terms]`` to ``[...]``; None if it is not a function of such sums."""
    digits: int = 3
    unit: str = ""
    """What follows a figure where people read it; "%" for fractions, which are then shown in percent."""
    detail: bool = True
    """Whether it is left out where there is little room."""


@dataclass(frozen=True)
class Detailed:
    """A figure and more that is worth keeping, as JSON has it."""

    value: float
    standard_error: float | None
    detail: Mapping[str, Any]
    interval: tuple[float, float] | None = None


Measured = Mapping[str, "Tensor | float | Detailed"]
"""For each column what each text adds to the sums, ``[texts, terms]``, or the figure itself."""


@dataclass(frozen=True)
class Metric:
    """A metric by its name on the command line.

    ``measure`` raises ValueError, ImportError or OSError, with the reason, where it is undefined. Figures compare only where the
    ``settings``, attributes of :class:`~counterpoint.eval.bench.metric_models.MetricModels`, are equal.
    """

    name: str
    summary: str
    columns: Mapping[str, Column]
    measure: Callable[[Group, MetricModels], Measured]
    settings: Sequence[str] = ()


def mean(sums: Tensor) -> Tensor:
    """The mean of values v, from the sums of (v, 1)."""
    return sums[..., 0] / sums[..., 1]


def terms(values: Sequence[float]) -> Tensor:
    """(v, 1) of every value; (0, 0) for nan, a text that has none."""
    import torch  # here, so that the table is read without it

    rows = [(0.0, 0.0) if math.isnan(value) else (value, 1.0) for value in values]
    return torch.tensor(rows, dtype=torch.float64).view(-1, 2)


def rep_n_of(sums: Tensor) -> Tensor:
    """rep-n, from how many n-grams are distinct and how many there are."""
    found: Tensor = repeated(sums[..., 0], sums[..., 1])
    return found


def diversity_of(sums: Tensor) -> Tensor:
    """Diversity, from the same for n = 2, 3 and 4."""
    found: Tensor = without_repetition(rep_n_of(sums[..., place : place + 2]) for place in (0, 2, 4))
    return found


def repetition(group: Group, models: MetricModels) -> Measured:
    """The numbers of distinct n-grams and of all n-grams in every text."""
    import torch

    rows = [[count for n in (2, 3, 4) for count in distinct_and_all(text, n)] for text in group.texts]
    counts = torch.tensor(rows, dtype=torch.float64).view(-1, 6)
    return {"rep_2": counts[:, 0:2], "rep_3": counts[:, 2:4], "rep_4": counts[:, 4:6], "diversity": counts}


def length_of(group: Group, models: MetricModels) -> Measured:
    """Words of every text, and whether it ends in a loop."""
    split = [words(text) for text in group.texts]
    return {"length": terms([float(len(each)) for each in split]), "loops": terms([float(ends_in_loop(each)) for each in split])}


def likelihood_of(group: Group, models: MetricModels) -> Measured:
    """Log-probability of every text under the scorer: its mean over tokens, and its sum with their number."""
    import torch

    found = torch.tensor(models.likelihoods(group.prompts, group.texts), dtype=torch.float64).view(-1, 2)
    return {"coherence": terms((found[:, 0] / found[:, 1]).tolist()), "perplexity": found}


def mauve_of(group: Group, models: MetricModels) -> Measured:
    """MAUVE, with its divergence curve."""
    found = models.mauve(group.prompts, group.texts, group.references)
    detail = found.as_dict()
    return {
        "mauve": Detailed(
            found.mauve,
            standard_error(found.scores),
            {**detail, "curves": None, "curve": found.curves.mean(axis=0).tolist()},
            found.interval,
        )
    }


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "diversity",
            "repetition within texts: rep-2, rep-3, rep-4, and the product of what they leave",
            {
                "rep_2": Column("rep-2", "human", rep_n_of, 2, "%"),
                "rep_3": Column("rep-3", "human", rep_n_of, 2, "%"),
                "rep_4": Column("rep-4", "human", rep_n_of, 2, "%"),
                "diversity": Column("diversity", "human", diversity_of, detail=False),
            },
            repetition,
        ),
        Metric(
            "distinct",
            "n-grams that are different over all texts together, as a share",
            {f"distinct_{n}": Column(f"distinct-{n}", "human", detail=n != 2) for n in (1, 2, 3)},
            lambda group, models: {f"distinct_{n}": distinct_n(group.texts, n) for n in (1, 2, 3)},
        ),
        Metric(
            "self_bleu",
            "BLEU-4 of each text with the others as references",
            {"self_bleu": Column("self-BLEU", "human")},
            lambda group, models: {"self_bleu": self_bleu(group.texts)},
        ),
        Metric(
            "zipf",
            "how fast the frequency of words falls with their rank",
            {"zipf": Column("Zipf", "human")},
            lambda group, models: {"zipf": zipf(group.texts)},
        ),
        Metric(
            "length",
            "words of a text, and the share of texts that end in a loop",
            {"length": Column("words", "human", mean, 1, detail=False), "loops": Column("loops", "lower", mean, 1, "%")},
            length_of,
        ),
        Metric(
            "coherence",
            "log-probability of a token under --scorer, the mean over texts, and perplexity over all tokens",
            {
                "coherence": Column("coherence", "human", mean, 2, detail=False),
                "perplexity": Column("perplexity", "human", lambda sums: (-sums[..., 0] / sums[..., 1]).exp(), 1),
            },
            likelihood_of,
            ("scorer",),
        ),
        Metric(
            "embedding_coherence",
            "cosine of the text's and the prompt's vectors, by --embedder",
            {"embedding_coherence": Column("cosine to prompt", "human", mean, detail=False)},
            lambda group, models: {"embedding_coherence": terms(models.cosines(group.prompts, group.texts))},
            ("embedder",),
        ),
        Metric(
            "mauve",
            "closeness to the references, by --mauve-protocol and --featurizer",
            {"mauve": Column("MAUVE", "higher", detail=False)},
            mauve_of,
            ("mauve_protocol", "featurizer"),
        ),
    )
}
"""By name. Speed, which is measured while texts are generated, is in :mod:`counterpoint.eval.bench.scores`."""
