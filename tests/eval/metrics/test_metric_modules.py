"""Metrics of the ``evaluate`` library: loaded without a hub, equal to the functions, and good company in ``combine``."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.eval import (
    EXPERT,
    distinct_n,
    diversity,
    embedding_coherence_of_each,
    likelihood_coherence_of_each,
    load_metric,
    mean_pooling,
    perplexity,
    rep_n,
    self_bleu,
    zipf,
)
from counterpoint.eval.metrics.metric_modules import FOLDER

TEXTS = ["a rose is a rose is a rose", "the cat sat on the mat"]
NAMES = sorted(path.stem for path in FOLDER.glob("*/*.py"))


@pytest.fixture(scope="module")
def evaluate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The library, with its caches in one temporary folder, since a process imports what it copies from one."""
    library = pytest.importorskip("evaluate", reason="needs the extra evaluate")
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("evaluate")
        patch.setattr(library.config, "HF_MODULES_CACHE", folder / "modules")
        patch.setattr(library.config, "HF_METRICS_CACHE", folder / "metrics")
        yield library


def load(name: str) -> Any:
    """A metric that keeps nothing on disk."""
    return load_metric(name, keep_in_memory=True)


@pytest.mark.parametrize("published", [False, True])
def test_metrics_equal_the_functions(evaluate: Any, published: bool) -> None:
    assert load("rep_n").compute(predictions=TEXTS, n=[2, 3], published=published) == {
        "rep_2": rep_n(TEXTS, 2, published=published),
        "rep_3": rep_n(TEXTS, 3, published=published),
    }
    assert load("diversity").compute(predictions=TEXTS, published=published) == {"diversity": diversity(TEXTS, published=published)}


def test_measures_of_a_set_of_texts(evaluate: Any) -> None:
    assert load("distinct_n").compute(predictions=TEXTS, n=[2]) == {"distinct_2": distinct_n(TEXTS, 2)}
    assert load("self_bleu").compute(predictions=TEXTS, n=[2, 5], samples=None) == {
        "self_bleu_2": self_bleu(TEXTS, 2),
        "self_bleu_5": self_bleu(TEXTS, 5),
    }
    assert load("zipf").compute(predictions=TEXTS, ranks=4) == {"zipf": zipf(TEXTS, ranks=4)}
    assert load("mean_length").compute(predictions=TEXTS) == {"mean_length": 7}
    assert load("loop_share").compute(predictions=TEXTS) == {"loop_share": 1 / 2}  # is a rose is a rose
    assert load("loop_share").compute(predictions=TEXTS, longest=2) == {"loop_share": 0}


def test_measures_by_a_model(evaluate: Any, expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    prompts, texts = ["The captain of", "The", "My fellow"], [" the ship was", "", " citizens"]
    given = {"predictions": texts, "references": prompts, "model": expert, "tokenizer": tokenizer}
    assert load("perplexity").compute(**given) == {"perplexity": perplexity(expert, tokenizer, prompts, texts)}
    first, _, last = likelihood_coherence_of_each(expert, tokenizer, prompts, texts)
    assert load("likelihood_coherence").compute(**given) == {"likelihood_coherence": pytest.approx((first + last) / 2)}
    embed = mean_pooling(expert, tokenizer)
    first, _, last = embedding_coherence_of_each(embed, prompts, texts)
    found = load("embedding_coherence").compute(predictions=texts, references=prompts, embed=embed)
    assert found == {"embedding_coherence": pytest.approx((first + last) / 2)}


def test_multiple_choice_by_hand(evaluate: Any) -> None:
    metric = load("truthfulqa_mc")
    scores, labels = [[-1.0, -2.0, -1.5], [-3.0, -math.inf, -3.0]], [[1, 1, 0], [0, 0, 1]]  # the second a tie
    share = (math.exp(-1) + math.exp(-2)) / (math.exp(-1) + math.exp(-2) + math.exp(-1.5))
    assert metric.compute(predictions=scores, references=labels) == pytest.approx(
        {"mc1": 0.5, "mc2": (share + 0.5) / 2, "mc3": 0.25}
    )
    with pytest.raises(ValueError, match="a question without a true answer"):
        metric.compute(predictions=[[-1.0]], references=[[0]])


def test_metrics_combine(evaluate: Any) -> None:
    combined = evaluate.combine([load("rep_n"), load("diversity")])
    for text in TEXTS:
        combined.add(prediction=text)
    expected = {**{f"rep_{n}": rep_n(TEXTS, n) for n in (2, 3, 4)}, "diversity": diversity(TEXTS)}
    assert combined.compute() == expected
    assert combined.compute(predictions=TEXTS) == expected


@pytest.mark.filterwarnings("ignore:MAUVE of .* means little", "ignore:1 of 40 texts have fewer than")
def test_mauve(evaluate: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("mauve", reason="needs the extra mauve")
    from counterpoint.eval.metrics.mauve import mauve_score

    predictions, references = ([f"{text} {number}" for number in range(20) for text in TEXTS[::way]] for way in (1, -1))
    predictions[0] = ""
    expected = mauve_score(None, predictions, references)
    found = load("mauve").compute(predictions=predictions, references=references)
    assert found == {
        "mauve": expected.mauve,
        "mauve_sd": expected.sd,
        "mauve_star": expected.mauve_star,
        "frontier_integral": expected.frontier_integral,
        "mauve_texts": 39,
        "mauve_dropped": 1,
    }
    both = evaluate.combine([load("mauve"), load("diversity")])
    assert both.compute(predictions=predictions, references=references) == {**found, "diversity": diversity(predictions)}
    arguments = dict(prompts=["a"] * 40, protocol="rankgen", featurizer=str(EXPERT), seeds=1)
    asked = load("mauve").compute(predictions=predictions, references=references, **arguments)
    assert asked["mauve"] == mauve_score(["a"] * 40, predictions, references, protocol="rankgen", featurizer=EXPERT, seeds=1).mauve
    assert (asked["mauve_sd"], asked["mauve_texts"]) == (None, 40)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_loader_asks_of_a_metric(evaluate: Any, name: str) -> None:
    (path,) = FOLDER.joinpath(name).glob("*.py")
    assert path.stem == name
    modules = [module for _, module, *_ in evaluate.loading.get_imports(str(path))]
    assert sorted(modules) == sorted(
        set(modules) & {"collections", "counterpoint", "datasets", "evaluate", "typing"}
    )  # one to a line
    metric = load(name)
    assert metric.name == name
    assert metric.description
    assert metric.citation


def test_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=f"name='bleu' is not a metric of this package, which has {', '.join(NAMES)}"):
        load_metric("bleu")
    monkeypatch.setitem(sys.modules, "evaluate", None)
    with pytest.raises(ImportError, match=r"pip install counterpoint\[evaluate\]"):
        load_metric("rep_n")
