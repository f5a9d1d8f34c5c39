"""MAUVE: how close a set of generated texts is to a set of human ones.

Pillutla et al., *MAUVE: Measuring the Gap Between Neural Text and Human Text using Divergence Frontiers* (2021, arXiv 2102.01454)
and *MAUVE Scores for Generative Models: Theory and Practice* (2023, arXiv 2212.14578), computed by their library from our features.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from counterpoint.eval.metrics.mauve_features import LoadedFeaturizer, load_featurizer
from counterpoint.eval.metrics.mauve_intervals import error_over_texts, interval_around
from counterpoint.eval.metrics.mauve_protocols import MauveProtocol, apply, protocol_named
from counterpoint.eval.metrics.significance import standard_error

ENOUGH = 1000
"""With fewer texts a figure means little."""
FIRST_SEED = 25  # mauve-text's own
PACKAGES = ("mauve-text", "faiss-cpu", "scikit-learn", "numpy", "torch", "transformers")


@dataclass(frozen=True, eq=False)
class MauveResult:
    """MAUVE for some seeds of k-means, and all that the figure depends on."""

    mauve: float
    """The mean over the seeds, from about 0.004 (nothing in common) to 1."""
    sd: float | None
    """The standard deviation between the seeds, None for a single one."""
    interval: tuple[float, float]
    """A 95 % interval over texts and over the seeds: the mean and 1.96 standard errors of both on either side."""
    scores: tuple[float, ...]
    """MAUVE of each seed."""
    seeds: tuple[int, ...]
    mauve_star: float
    """The mean of the variant with smoothed histograms."""
    frontier_integral: float
    """The mean of the other summary of the curve: 0 for equal texts, 1 for nothing in common."""
    curves: Float[np.ndarray, "seeds points 2"]
    """The divergence curve of each seed: exp(-c KL(q || r)) and exp(-c KL(p || r)) for mixtures r of p and q."""
    n: int
    """Texts on each side."""
    num_buckets: int
    options: dict[str, Any]
    """Further options that were passed to the library."""
    versions: dict[str, str]
    warning: str | None
    """Why the figure means little, if so."""
    protocol: MauveProtocol | None = None
    featurizer: str | None = None
    dtype: str | None = None
    dropped: int = 0
    """Pairs left out: one of them was empty, or the protocol leaves them out."""

    @property
    def comparable(self) -> bool:
        """Whether published figures of the protocol are of this kind: by the same featuriser, at its precision."""
        return (
            self.protocol is not None
            and self.protocol.published
            and self.featurizer == self.protocol.featurizer
            and self.dtype == "float32"
        )

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return {**asdict(self), "curves": self.curves.tolist(), "comparable": self.comparable}


def mauve_score(
    prompts: Sequence[str] | None,
    continuations: Sequence[str],
    references: Sequence[str],
    *,
    protocol: str | MauveProtocol = "counterpoint",
    featurizer: LoadedFeaturizer | str | Path | None = None,
    seeds: int | Sequence[int] = 5,
    **options: Any,
) -> MauveResult:
    """MAUVE of continuations against references, prepared as a protocol says.

    Args:
        prompts: What was continued; None will do where the protocol compares continuations only.
        continuations: What was generated, without the prompts.
        references: What people wrote in its place.
        protocol: One of :data:`counterpoint.eval.metrics.mauve_protocols.PROTOCOLS` by name, or your own.
        featurizer: The model that reads the texts; None for the protocol's. Pass a loaded one to several calls: it reads equal
            references once.
        seeds: As for :func:`mauve`.
        options: As for :func:`mauve`.

    Raises:
        ImportError: Without the package mauve-text.
        OSError: If the featuriser cannot be had.
        ValueError: If the three have different lengths, there is no such protocol, or no pair is left.

    Example:
        >>> from counterpoint.eval import mauve_score
        >>> result = mauve_score(prompts, continuations, references)  # doctest: +SKIP
        >>> f"{result.mauve:.3f} ± {result.sd:.3f}"  # doctest: +SKIP
        '0.912 ± 0.008'
    """
    compute_mauve()  # before anything is read
    rules = protocol_named(protocol) if isinstance(protocol, str) else protocol
    if prompts is None:
        if rules.prompted:
            raise ValueError(f"protocol {rules.name} compares prompts with their continuations: pass prompts")
        prompts = [""] * len(continuations)
    if not isinstance(featurizer, LoadedFeaturizer):
        featurizer = load_featurizer(rules.featurizer if featurizer is None else featurizer)
    human, generated = apply(rules, prompts, continuations, references, featurizer.tokenizer)
    if not human:
        raise ValueError(f"protocol {rules.name} leaves out all {len(prompts)} pairs: {rules.summary}")
    features = featurizer.features([*human, *generated], rules.max_length)
    sides = features[: len(human)], features[len(human) :]
    p, q = sides if rules.human == "p" else sides[::-1]
    return replace(
        mauve(p, q, seeds=seeds, **options),
        protocol=rules,
        featurizer=featurizer.name,
        dtype=str(featurizer.model.dtype).removeprefix("torch."),
        dropped=len(prompts) - len(human),
    )


def mauve(
    p_features: Float[np.ndarray, "n width"],
    q_features: Float[np.ndarray, "m width"],
    *,
    seeds: int | Sequence[int] = 5,
    num_buckets: int | np.integer[Any] | None = None,
    **options: Any,
) -> MauveResult:
    """MAUVE of two sets of features, by mauve-text, an extra (GPLv3): ``pip install counterpoint[mauve]``.

        MAUVE = area under the curve (exp(-c KL(q || r)), exp(-c KL(p || r))),   r = w p + (1 - w) q,  0 < w < 1

    of the histograms p and q of the two sets over k clusters of both, found by k-means after a principal component analysis. c = 5.
    Only figures of the same features, numbers and lengths of texts compare. The measure is symmetric but for its clusters, which
    depend on the order of the rows: by convention p are the human texts.

    The time is mostly the analysis, which is done for each seed: ``pca_max_data=2000`` does it on so many rows, for another figure.

    Args:
        p_features: Features of the human texts.
        q_features: Features of as many generated texts.
        seeds: The seeds, or how many, counted from the library's own, 25.
        num_buckets: The number k of clusters; None for a tenth of the texts on a side, and 2 at the least.
        options: More of ``mauve.compute_mauve``, such as ``pca_max_data``, ``kmeans_num_redo`` or ``mauve_scaling_factor``.

    Raises:
        ImportError: Without the package mauve-text.
        ValueError: If the numbers of texts differ, a feature is not finite, or there are not two texts on a side, no seeds or too
            many clusters.

    Warns:
        UserWarning: If there are too few texts for the figure to mean much.

    Example:
        >>> import numpy as np
        >>> from counterpoint.eval.metrics.mauve import mauve
        >>> features = np.random.default_rng(0).normal(size=(1000, 8))
        >>> result = mauve(features, features + 0.1)  # doctest: +SKIP
        >>> result.num_buckets, result.seeds  # doctest: +SKIP
        (100, (25, 26, 27, 28, 29))
    """
    compute = compute_mauve()
    n = len(p_features)
    if len(q_features) != n:
        raise ValueError(
            f"{n} texts on one side, {len(q_features)} on the other: unequal numbers change the clusters and the bias; take the "
            f"first {min(n, len(q_features))} of each"
        )
    if n < 2:
        raise ValueError(f"{n} texts on a side: take at least 2, and a few thousand for a figure that means something")
    p, q = (np.ascontiguousarray(side, dtype=np.float32) for side in (p_features, q_features))
    if not (np.isfinite(p).all() and np.isfinite(q).all()):
        raise ValueError("features are not finite: does the featuriser overflow? dtype='float32' loads it at full precision")
    chosen = tuple(range(FIRST_SEED, FIRST_SEED + seeds)) if isinstance(seeds, int) else tuple(map(int, seeds))
    if not chosen:
        raise ValueError(f"seeds={seeds!r}: take at least one")
    buckets = max(2, round(n / 10)) if num_buckets is None else int(num_buckets)  # the library refuses NumPy's integers
    if not 2 <= buckets <= 2 * n:
        raise ValueError(f"num_buckets={num_buckets!r}: take 2 to {2 * n}, the number of texts")
    with small_clusters_allowed():
        found = [compute(p_features=p, q_features=q, num_buckets=buckets, seed=seed, **options) for seed in chosen]
    for one in found:
        if np.array_equal(one.p_hist, one.q_hist):  # all points of the curve tie, and the library's area depends on how they sort
            one.mauve = one.mauve_star = 1.0
    scores = tuple(float(one.mauve) for one in found)
    over_texts = statistics.fmean(error_over_texts(one.p_hist, one.q_hist, n) for one in found)
    warning = too_few(n)
    if warning:
        warnings.warn(warning, stacklevel=2)
    return MauveResult(
        mauve=statistics.fmean(scores),
        sd=statistics.stdev(scores) if len(scores) > 1 else None,
        interval=interval_around(statistics.fmean(scores), over_texts, standard_error(scores)),
        scores=scores,
        seeds=chosen,
        mauve_star=statistics.fmean(float(one.mauve_star) for one in found),
        frontier_integral=statistics.fmean(float(one.frontier_integral) for one in found),
        curves=np.stack([one.divergence_curve for one in found]),
        n=n,
        num_buckets=buckets,
        options=dict(options),
        versions={package: version(package) for package in PACKAGES},
        warning=warning,
    )


def too_few(n: int) -> str | None:
    """What is wrong with a figure of so few texts; the numbers are of samples of one pair of distributions."""
    if n >= ENOUGH:
        return None
    return (
        f"MAUVE of {n} texts on each side means little: with fewer than {ENOUGH} it comes out too high (.91 with 100 where 5000 "
        "texts have .82) and differs by .03 to .05 between seeds of k-means alone; take a few thousand, or compare only figures of "
        "exactly as many texts"
    )


def compute_mauve() -> Any:
    """``mauve.compute_mauve``, imported now: it takes seconds, and few need it.

    Raises:
        ImportError: If mauve-text is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the bindings of faiss
            from mauve import compute_mauve as compute
    except ImportError as error:
        raise ImportError("MAUVE needs mauve-text (GPLv3): pip install 'counterpoint[mauve]'") from error
    return compute


@contextmanager
def small_clusters_allowed() -> Iterator[None]:
    """Within the context faiss does not warn on standard error that clusters have few points, as they do in MAUVE."""
    faiss: Any = import_module("faiss")  # which mauve-text depends on
    own = faiss.Kmeans
    faiss.Kmeans = partial(own, min_points_per_centroid=1)  # below which it warns; nothing else depends on it
    try:
        yield
    finally:
        faiss.Kmeans = own
