"""MAUVE: that of mauve-text, and of the formula; what its figures depend on is said."""

from __future__ import annotations

import json
import os
import statistics
import sys
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2Model

from counterpoint.eval import EXPERT
from counterpoint.eval.metrics.mauve import compute_mauve, mauve, mauve_score, small_clusters_allowed
from counterpoint.eval.metrics.mauve_features import LoadedFeaturizer, load_featurizer
from counterpoint.eval.metrics.mauve_protocols import COUNTERPOINT, MAUVE_TEXT

FEW = pytest.mark.filterwarnings("ignore:MAUVE of .* means little")
WORDS = "the sea land king queen ship was is went came home away of and with a in to".split()


@pytest.fixture(autouse=True)
def library() -> None:
    """Most of this needs it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("mauve", reason="needs the extra mauve")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GPT-2 of random weights."""
    path = tmp_path_factory.mktemp("models") / "tiny-gpt2"
    torch.manual_seed(0)
    GPT2Model(GPT2Config(vocab_size=8192, n_embd=32, n_layer=2, n_head=2, n_positions=64)).save_pretrained(path)
    AutoTokenizer.from_pretrained(EXPERT).save_pretrained(path)
    return path


def texts(count: int, seed: int, words: int = len(WORDS)) -> list[str]:
    """Random ones of the first so many words."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS[:words], size=rng.integers(4, 12))) for _ in range(count)]


def features(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Normally distributed ones."""
    return np.random.default_rng(seed).normal(loc=shift, size=(count, 16)).astype(np.float32)


def clustered(counts: list[int]) -> np.ndarray:
    """So many rows at each of some far corners."""
    return np.repeat(np.eye(len(counts), dtype=np.float32), counts, axis=0)


def area(p: list[float], q: list[float]) -> float:
    """MAUVE of two histograms without empty clusters, from the formula, on the library's 25 mixtures."""
    curve = [(0.0, 1.0)]
    for w in sorted(np.linspace(1e-6, 1 - 1e-6, 25), reverse=True):
        r = [w * one + (1 - w) * other for one, other in zip(p, q, strict=True)]
        kl_q = sum(one * np.log(one / mixed) for one, mixed in zip(q, r, strict=True) if one)
        kl_p = sum(one * np.log(one / mixed) for one, mixed in zip(p, r, strict=True) if one)
        curve.append((float(np.exp(-5 * kl_q)), float(np.exp(-5 * kl_p))))
    curve.append((1.0, 0.0))
    return sum((right - left) * (low + high) / 2 for (left, high), (right, low) in pairwise(curve))


@FEW
@pytest.mark.parametrize(("p", "q"), [([30, 10], [10, 30]), ([20, 10, 10], [10, 10, 20]), ([8, 8, 24], [20, 10, 10])])
def test_the_formula(p: list[int], q: list[int]) -> None:
    found = mauve(clustered(p), clustered(q), seeds=2, num_buckets=len(p))
    assert found.mauve == pytest.approx(area([one / 40 for one in p], [one / 40 for one in q]), abs=1e-5)
    assert found.sd == pytest.approx(0, abs=1e-9)
    assert (found.n, found.num_buckets) == (40, len(p))


@FEW
def test_the_ends_of_the_scale() -> None:
    same, apart = clustered([20, 20]), [clustered([40, 0]), clustered([0, 40])]
    assert mauve(same, same, seeds=1, num_buckets=2).mauve == pytest.approx(1)
    assert mauve(*apart, seeds=1, num_buckets=2).mauve == pytest.approx(0.0041, abs=1e-4)
    assert mauve(same, same, seeds=1, num_buckets=2).sd is None


@FEW
@pytest.mark.parametrize("options", [{}, {"pca_max_data": 100, "mauve_scaling_factor": 2}])
def test_equals_mauve_text_from_features(options: dict[str, Any]) -> None:
    p, q = features(200, 0), features(200, 1, shift=0.3)
    found = mauve(p, q, seeds=[25, 7], **options)
    expected = [compute_mauve()(p_features=p, q_features=q, seed=seed, **options) for seed in (25, 7)]
    assert found.scores == tuple(one.mauve for one in expected)
    assert found.mauve == statistics.fmean(one.mauve for one in expected)
    assert found.sd == statistics.stdev(one.mauve for one in expected)
    assert found.mauve_star == statistics.fmean(one.mauve_star for one in expected)
    assert found.frontier_integral == statistics.fmean(one.frontier_integral for one in expected)
    np.testing.assert_array_equal(found.curves, [one.divergence_curve for one in expected])
    assert (found.seeds, found.num_buckets, found.options) == ((25, 7), expected[0].num_buckets, options)


@FEW
@pytest.mark.filterwarnings("ignore:`past_key_values` is deprecated:FutureWarning")
def test_equals_mauve_text_from_end_to_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISABLE_TQDM", "1")
    human, generated = texts(120, 0), texts(120, 1, words=8)
    found = mauve_score([""] * 120, generated, human, protocol="mauve_text", featurizer=folder, seeds=1)
    with small_clusters_allowed():
        expected = compute_mauve()(p_text=human, q_text=generated, featurize_model_name=str(folder), max_text_length=1024)
    assert found.mauve == pytest.approx(expected.mauve, abs=0.02)  # a text between two clusters may fall to either
    assert (
        mauve_score([""] * 120, texts(120, 1), human, protocol="mauve_text", featurizer=folder, seeds=1).mauve
        > expected.mauve + 0.05
    )


@FEW
def test_seeds() -> None:
    p, q = features(100, 0), features(100, 1, shift=0.3)
    assert mauve(p, q, seeds=3).scores == tuple(mauve(p, q, seeds=[seed]).mauve for seed in (25, 26, 27))
    assert len(set(mauve(p, q, seeds=3).scores)) > 1
    for number in (np.int64(7), 7):
        assert mauve(p, q, seeds=1, num_buckets=number).num_buckets == 7


@FEW
@pytest.mark.parametrize(("protocol", "swapped"), [("contrastive_search", False), ("rankgen", True)])
def test_which_side_is_human(folder: Path, protocol: str, swapped: bool) -> None:
    featurizer = load_featurizer(folder)
    prompts, generated, human = ["it"] * 50, texts(50, 0), texts(50, 1)
    found = mauve_score(prompts, generated, human, protocol=protocol, featurizer=featurizer, seeds=[3])
    written = {
        "contrastive_search": [cut_together(featurizer, *pair) for pair in zip(human, generated, strict=True)],
        "rankgen": [(f"it {one}", f"it {other}") for one, other in zip(human, generated, strict=True)],
    }[protocol]
    sides = [featurizer.features([pair[side] for pair in written]) for side in (0, 1)]
    np.testing.assert_array_equal(found.curves, mauve(*sides[:: -1 if swapped else 1], seeds=[3]).curves)


def cut_together(featurizer: LoadedFeaturizer, *pair: str) -> list[str]:
    """Texts without punctuation cut to the tokens of the shorter."""
    ids = [featurizer.tokenizer(text)["input_ids"] for text in pair]
    return [featurizer.tokenizer.decode(each[: min(map(len, ids))]) for each in ids]


@FEW
def test_the_result_says_what_it_depends_on(folder: Path) -> None:
    featurizer = load_featurizer(folder, dtype="bfloat16")
    human = texts(20, 0)
    found = mauve_score([""] * 20, ["", " ", *human[2:]], human, featurizer=featurizer, seeds=2)
    assert (found.protocol, found.n, found.dropped) == (COUNTERPOINT, 18, 2)
    assert (found.featurizer, found.dtype) == (str(folder), "bfloat16")
    content = json.loads(json.dumps(found.as_dict()))
    assert (content["protocol"]["name"], content["protocol"]["cut"], content["dropped"]) == ("counterpoint", "shorter", 2)
    assert np.array(content["curves"]).shape == (2, 27, 2)
    assert set(content["versions"]) == {"mauve-text", "faiss-cpu", "scikit-learn", "numpy", "torch", "transformers"}
    assert "18 texts on each side" in content["warning"]


@FEW
def test_what_compares_with_published_figures() -> None:
    found = mauve(features(20, 0), features(20, 1), seeds=1)
    assert not found.comparable
    theirs = replace(found, protocol=MAUVE_TEXT, featurizer="gpt2-large", dtype="float32")
    assert theirs.comparable
    assert theirs.as_dict()["comparable"]
    own = replace(found, protocol=COUNTERPOINT, featurizer=COUNTERPOINT.featurizer, dtype="float32")
    for other in (replace(theirs, featurizer="gpt2"), replace(theirs, dtype="bfloat16"), own):
        assert not other.comparable


def test_too_few_texts_are_said() -> None:
    with pytest.warns(UserWarning, match="MAUVE of 999 texts on each side means little: with fewer than 1000"):
        few = mauve(features(999, 0), features(999, 1), seeds=1, kmeans_num_redo=1, kmeans_max_iter=5)
    assert few.warning
    assert mauve(features(1000, 0), features(1000, 1), seeds=1, kmeans_num_redo=1, kmeans_max_iter=5).warning is None


@FEW
def test_standard_error_has_nothing_of_small_clusters_and_all_else(capfd: pytest.CaptureFixture[str]) -> None:
    p, q = features(60, 0), features(60, 1)
    compute_mauve()(p_features=p, q_features=q)
    assert "WARNING clustering" in capfd.readouterr().err  # what is kept away
    with small_clusters_allowed():
        mauve(p, q, seeds=1)
        os.write(2, b"something else\n")
    assert capfd.readouterr().err == "something else\n"
    with pytest.raises(ZeroDivisionError), small_clusters_allowed():
        raise ZeroDivisionError
    os.write(2, b"after an error\n")
    assert capfd.readouterr().err == "after an error\n"


def test_errors(folder: Path) -> None:
    p = features(10, 0)
    with pytest.raises(ValueError, match=r"10 texts on one side, 8 on the other: .* take the first 8 of each"):
        mauve(p, p[:8])
    with pytest.raises(ValueError, match="1 texts on a side: take at least 2"):
        mauve(p[:1], p[:1])
    with pytest.raises(ValueError, match="features are not finite"):
        mauve(p, np.full_like(p, np.nan))
    for seeds in (0, []):
        with pytest.raises(ValueError, match=r"seeds=(0|\[\]): take at least one"):
            mauve(p, p, seeds=seeds)
    for buckets in (1, 21):
        with pytest.raises(ValueError, match=f"num_buckets={buckets}: take 2 to 20"):
            mauve(p, p, num_buckets=buckets)
    with pytest.raises(ValueError, match="protocol rankgen compares prompts with their continuations: pass prompts"):
        mauve_score(None, ["a"], ["b"], protocol="rankgen", featurizer=folder)
    with pytest.raises(ValueError, match="protocol='mine': the protocols are counterpoint, contrastive_search"):
        mauve_score([""], ["a"], ["b"], protocol="mine")
    with pytest.raises(ValueError, match=r"protocol contrastive_decoding leaves out all 1 pairs: .* cut to 128 tokens"):
        mauve_score([""], ["a"], ["b"], protocol="contrastive_decoding", featurizer=folder)
    with pytest.raises(OSError, match="featurizer gpt2-large is neither the folder of a model"):
        mauve_score([""], ["a"], ["b"], protocol="contrastive_search")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mauve", None)
    for call in (lambda: mauve(features(10, 0), features(10, 1)), lambda: mauve_score([""], ["a"], ["b"])):
        with pytest.raises(ImportError, match=r"MAUVE needs mauve-text \(GPLv3\): pip install 'counterpoint\[mauve\]'"):
            call()
