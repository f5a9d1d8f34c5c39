"""The measures as metrics of the Hugging Face ``evaluate`` library, loaded from this package without a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "metrics_hub"


def load_metric(name: str, **options: Any) -> Any:
    """A metric of this package for the ``evaluate`` library, an extra: ``pip install counterpoint[evaluate]``.

    ``compute`` returns a dictionary, so that ``evaluate.combine`` takes it beside others.

    Args:
        name: "distinct_n", "diversity", "embedding_coherence", "likelihood_coherence", "loop_share", "mauve", "mean_length",
            "perplexity", "rep_n", "self_bleu", "truthfulqa_mc" or "zipf". Those that go by a model take it in ``compute``.
        options: As for ``evaluate.load``, such as ``keep_in_memory``.

    Returns:
        An ``evaluate.Metric``.

    Raises:
        ImportError: If ``evaluate`` is not installed.
        ValueError: If this package has no such metric.

    Example:
        >>> from counterpoint.eval import load_metric
        >>> metric = load_metric("diversity")  # doctest: +SKIP
        >>> metric.compute(predictions=["the cat sat on the mat"])  # doctest: +SKIP
        {'diversity': 1.0}
    """
    known = sorted(path.stem for path in FOLDER.glob("*/*.py"))
    if name not in known:
        raise ValueError(f"name={name!r} is not a metric of this package, which has {', '.join(known)}")
    try:
        import evaluate
    except ImportError as error:
        raise ImportError(f"metric {name}: pip install counterpoint[evaluate]") from error
    return evaluate.load(str(FOLDER / name), **options)
