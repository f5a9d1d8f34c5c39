"""Metrics of a run: each the plain function's, for decoders and people, with its error, its test and what is missing."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from bench_cases import PROMPTS, named, sentences, write_lines, write_run, write_speed
from counterpoint.eval import (
    AMATEUR,
    distinct_n,
    diversity,
    journal,
    likelihood_coherence_of_each,
    loop_share,
    mean_length,
    perplexity,
    rep_n,
    self_bleu,
    zipf,
)
from counterpoint.eval.bench import metrics as bench_metrics
from counterpoint.eval.bench.metric_models import MetricModels
from counterpoint.eval.bench.metrics import METRICS
from counterpoint.eval.bench.records import read_generations, read_results
from counterpoint.eval.bench.results import score_directory
from counterpoint.eval.bench.scores import Cell, human_row, rows_of
from counterpoint.eval.bench.statistics import adjust, difference, paired
from counterpoint.eval.journal import write_whole
from counterpoint.eval.loading import load
from counterpoint.eval.metrics import likelihoods

LOOPS = [" so it goes and it goes and it goes and", " we shall fight we shall fight we shall fight", " a b a b a b a c"]
PLAIN = ["diversity", "distinct", "self_bleu", "zipf", "length"]


def models(folder: Path) -> MetricModels:
    """Models of metrics, the scorer being the smaller embedded one."""
    return MetricModels(folder, scorer=str(AMATEUR), device="cpu", dtype="float32")


def check_plain_metrics(folder: Path) -> None:
    """Every column is the mean over seeds of the function that is documented."""
    texts = {"greedy": {0: LOOPS}, "nucleus:top_p=0.9": {0: sentences(3, 1), 1: sentences(3, 2)}}
    results = score_directory(write_run(folder, texts), PLAIN, models(folder))
    functions: dict[str, Any] = {
        **{f"rep_{n}": lambda found, n=n: rep_n(found, n) for n in (2, 3, 4)},
        **{f"distinct_{n}": lambda found, n=n: distinct_n(found, n) for n in (1, 2, 3)},
        "diversity": diversity,
        "self_bleu": self_bleu,
        "zipf": zipf,
        "length": mean_length,
        "loops": loop_share,
    }
    assert results["columns"].keys() == functions.keys()
    for row, seeds in zip(results["rows"], texts.values(), strict=True):
        for name, function in functions.items():
            by_seed = {str(seed): function(found) for seed, found in seeds.items()}
            assert row["figures"][name]["by_seed"] == pytest.approx(by_seed)
            assert row["figures"][name]["value"] == pytest.approx(fmean(by_seed.values()))


def test_plain_metrics(tmp_path: Path) -> None:
    check_plain_metrics(tmp_path)


@pytest.mark.parametrize("broken", [bench_metrics.mean, lambda sums: sums[..., 0::2].prod(-1) / sums[..., 1::2].sum(-1)])
def test_the_check_catches_a_wrong_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Any) -> None:
    columns = {name: replace(column, combine=broken) for name, column in METRICS["diversity"].columns.items()}
    monkeypatch.setitem(METRICS, "diversity", replace(METRICS["diversity"], columns=columns))
    with pytest.raises(AssertionError):
        check_plain_metrics(tmp_path)


def test_likelihoods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"greedy": {0: [" was on the deck", "", " said nothing of it"]}}
    write_run(tmp_path, texts, [" sailed on the sea", None, None])
    results = score_directory(tmp_path, ["coherence"], models(tmp_path))
    loaded = load(str(AMATEUR), "cpu", "float32", trust_remote_code=False)
    prompts, found = [PROMPTS[0], PROMPTS[2]], [" was on the deck", " said nothing of it"]
    figures = results["rows"][0]["figures"]
    expected = fmean(likelihood_coherence_of_each(loaded.model, loaded.tokenizer, prompts, found))  # an empty text counts nothing
    assert figures["coherence"]["value"] == pytest.approx(expected, abs=1e-4)
    assert figures["perplexity"]["value"] == pytest.approx(perplexity(loaded.model, loaded.tokenizer, prompts, found), rel=1e-4)
    human = results["human"]["figures"]["perplexity"]["value"]
    assert human == pytest.approx(perplexity(loaded.model, loaded.tokenizer, prompts[:1], [" sailed on the sea"]), rel=1e-4)

    def scored_again(*arguments: Any) -> Any:
        raise AssertionError("a text is scored twice")

    monkeypatch.setattr(likelihoods, "log_probabilities", scored_again)
    again = score_directory(tmp_path, ["coherence"], models(tmp_path))
    assert again == results
    with pytest.raises(AssertionError, match="scored twice"):  # by another model it is scored anew
        score_directory(tmp_path, ["coherence"], replace(models(tmp_path), dtype="bfloat16"))


def test_cosines(tmp_path: Path) -> None:
    write_run(tmp_path, {"greedy": {0: [" was on the deck", PROMPTS[1]]}})
    results = score_directory(tmp_path, ["embedding_coherence"], replace(models(tmp_path), embedder=str(AMATEUR)))
    cosines = results["rows"][0]["figures"]["embedding_coherence"]
    assert 0 < cosines["value"] < 1
    assert cosines["interval"][1] == pytest.approx(1, abs=1e-5)  # the second text is its own prompt
    assert results["columns"]["embedding_coherence"]["settings"] == {"embedder": str(AMATEUR)}


def test_what_cannot_be_measured_says_why(tmp_path: Path) -> None:
    write_run(tmp_path, {"greedy": {0: ["one", "two"]}, "beam": {0: [*sentences(2, 0)]}})
    write_speed(tmp_path, {"greedy": 10.0})
    results = score_directory(tmp_path, [*PLAIN, "embedding_coherence", "mauve", "speed"], models(tmp_path))
    short, long = (row["figures"] for row in results["rows"])
    assert short["diversity"] == {"value": None, "reason": "undefined for these texts, which are too short or too few"}
    assert short["distinct_2"]["reason"].startswith("texts: none is long enough to hold a 2-gram")
    assert short["length"]["value"] == 1
    assert long["diversity"]["value"] is not None
    assert "p" not in long["diversity"]  # there is nothing to test it against
    assert long["embedding_coherence"]["reason"] == "no sentence encoder was given (--embedder)"
    assert long["mauve"] == {"value": None, "reason": "there are no references to compare with"}
    assert long["tokens_per_second"] == {"value": None, "reason": "not timed"}
    assert short["tokens_per_second"]["standard_error"] == pytest.approx(1 / math.sqrt(3))
    assert (short["relative_speed"]["value"], short["peak_memory"]["value"]) == (1, 1024)
    assert results["human"] is None


def test_mauve(tmp_path: Path) -> None:
    pytest.importorskip("mauve", reason="needs the extra mauve")
    references = sentences(12, 5)
    write_run(tmp_path, {"greedy": {0: references}, "beam": {0: ["  the" * 20] * 12}}, references)
    results = score_directory(tmp_path, ["mauve"], replace(models(tmp_path), featurizer=str(AMATEUR)))
    same, other = (row["figures"]["mauve"] for row in results["rows"])
    assert same["value"] == pytest.approx(1)
    assert other["value"] < 0.6
    assert len(same["details"][0]["curve"]) > 20
    assert results["columns"]["mauve"]["settings"] == {"mauve_protocol": "counterpoint", "featurizer": str(AMATEUR)}
    assert "reason" in results["human"]["figures"]["mauve"]


def test_human_texts_are_no_longer_than_the_longest_other(tmp_path: Path) -> None:
    texts = {"greedy": {0: [" a b", " c"]}, "beam": {0: [" a", " d e f"]}}
    records = read_generations(write_run(tmp_path, texts, [" one\n two three", " four five"]))
    row = human_row(records)
    assert row is not None
    assert row.groups[0].texts == [" one\n two", " four five"]
    assert human_row(read_generations(write_run(tmp_path / "none", texts))) is None


def test_lines_that_a_kill_cut_and_lines_written_twice(tmp_path: Path) -> None:
    write_run(tmp_path, {"greedy": {0: sentences(3, 0)}, "beam": {0: sentences(3, 1)}})
    expected = score_directory(tmp_path, PLAIN, models(tmp_path))["rows"]
    lines = (tmp_path / "generations.jsonl").read_text().splitlines()
    (tmp_path / "generations.jsonl").write_text("\n".join([*lines[4:], lines[5][:50]]))
    (tmp_path / "generations-1.jsonl").write_text("\n".join([*reversed(lines[:5]), lines[0][:-1]]))
    assert score_directory(tmp_path, PLAIN, models(tmp_path))["rows"] == expected


def cell(terms: dict[int, dict[int, float]]) -> Cell:
    """A mean's cell, from values by seed and prompt."""
    return Cell(
        values={seed: fmean(found.values()) for seed, found in terms.items()},
        terms={seed: bench_metrics.terms(list(found.values())) for seed, found in terms.items()},
        indices={seed: list(found) for seed, found in terms.items()},
    )


def test_pairs() -> None:
    first = cell({0: {0: 1.0, 1: 2.0, 2: 3.0}})
    second = cell({0: {2: 30.0, 0: 10.0, 5: 1.0}, 1: {0: 11.0, 2: 31.0, 7: 1.0}})
    pair = paired(first, second)
    assert pair is not None
    assert pair[0][..., 0].tolist() == [[1, 3], [1, 3]]  # its one seed beside both
    assert pair[1][..., 0].tolist() == [[10, 30], [11, 31]]
    third = cell({1: {0: 5.0, 2: 6.0}, 2: {0: 7.0, 2: 8.0}})
    pair = paired(second, third)
    assert pair is not None
    assert pair[0][..., 0].tolist() == [[11, 31]]  # the seed that both have
    assert pair[1][..., 0].tolist() == [[5, 6]]
    assert paired(cell({0: {0: 1.0}}), cell({0: {1: 1.0}})) is None
    assert paired(cell({0: {0: 1.0}, 1: {0: 1.0}}), cell({2: {0: 1.0}, 3: {0: 1.0}})) is None


def test_differences() -> None:
    column = METRICS["length"].columns["length"]
    values = torch.randn(2, 30, generator=torch.Generator().manual_seed(0)).tolist()
    first = cell({0: dict(enumerate(values[0]))})
    second = cell({0: {index: value + 1 for index, value in enumerate(values[1])}})
    found = difference(first, second, column)
    assert found["difference"] == pytest.approx(second.values[0] - first.values[0])
    assert found["difference_interval"][0] < found["difference"] < found["difference_interval"][1]
    assert found["p"] < 0.01
    assert difference(first, second, replace(column, combine=None)) == {}


def test_tests_of_a_table_are_adjusted_together(tmp_path: Path) -> None:
    figures: list[dict[str, Any]] = [{"p": 0.01}, {"p": 0.04}, {}, {"p": 0.03}]
    assert adjust(figures) == 3
    assert [figure.get("p_adjusted") for figure in figures] == [0.03, 0.06, None, 0.06]
    write_run(tmp_path, {"greedy": {0: LOOPS * 10}, "beam": {0: LOOPS * 10}, "sample": {0: sentences(30, 0)}})
    results = score_directory(tmp_path, ["diversity", "zipf"], models(tmp_path))
    assert results["statistics"]["tests"] == 8  # two decoders, four columns made of sums
    same, other = (row["figures"]["diversity"] for row in results["rows"][1:])
    assert same["p"] == same["p_adjusted"] == 1
    assert other["p_adjusted"] == pytest.approx(8 * 1e-4)  # the smallest p that there is, for all 8


def test_results_are_reproducible_and_say_what_they_are_of(tmp_path: Path) -> None:
    write_run(tmp_path, {"greedy": {0: LOOPS}, "nucleus:top_p=0.9": {0: sentences(3, 1), 1: sentences(3, 2)}}, LOOPS)
    write_lines(tmp_path / "failures.jsonl", [{**named("sled x=1"), "key": "f", "error": "no early layers"}])
    results = score_directory(tmp_path, PLAIN, models(tmp_path))
    first = (tmp_path / "results.json").read_bytes()
    assert score_directory(tmp_path, PLAIN, models(tmp_path)) == read_results(tmp_path)
    assert (tmp_path / "results.json").read_bytes() == first
    for name in ("config.json", "generations.jsonl"):
        assert results["files"][name] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert results["config"] == json.loads((tmp_path / "config.json").read_text())
    assert results["failures"] == [{"decoder": "sled", "label": "sled x=1", "error": "no early layers"}]
    assert [(row["name"], row["seeds"], row["texts"]) for row in results["rows"]] == [("greedy", [0], 3), ("nucleus", [0, 1], 6)]
    assert results["scored_with"].keys() == {"counterpoint", "torch", "transformers", "python", "platform"}


def test_a_kill_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "a.json", "old")

    def killed(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(journal.os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.json", "new, and longer")
    assert (tmp_path / "a.json").read_text() == "old"


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no metric 'mauv' \(did you mean mauve\?\); there are: diversity"):
        score_directory(tmp_path, ["mauv"], models(tmp_path))
    with pytest.raises(ValueError, match="no directory that `counterpoint bench --output-dir` wrote"):
        score_directory(tmp_path, PLAIN, models(tmp_path))
    write_run(tmp_path, {"greedy": {0: [" a"]}})
    (tmp_path / "generations.jsonl").write_text("")
    with pytest.raises(ValueError, match="no texts to score"):
        score_directory(tmp_path, PLAIN, models(tmp_path))
    with pytest.raises(ValueError, match="no results yet"):
        read_results(tmp_path)
    assert rows_of([]) == []
