"""Rankers by name: their settings, what they load, and every way to get them wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from counterpoint.eval import AMATEUR
from counterpoint.eval.building import load_ranker
from counterpoint.eval.choosing import describe_rankers, parse_rankers
from counterpoint.eval.loading import Loaded, load
from counterpoint.rankers import (
    CombinedRanker,
    ConsensusRanker,
    LikelihoodRanker,
    NgramF1,
    OverlapRanker,
    RankGenRanker,
    SentenceTransformerRanker,
)
from counterpoint.rankers.named import RANKERS
from ranker_laws import CANDIDATES, PREFIXES, same
from rankgen_cases import tiny_encoder, tiny_tokenizer


@pytest.mark.parametrize(
    "words",
    [
        ["rankgen:path=DIR,truncation=released", "overlap:n=2,weight=-0.5"],
        ["rankgen", "path=DIR", "truncation=released", "overlap", "n=2", "weight=-0.5"],
        ["rankgen:path=DIR", "truncation=released", "overlap:weight=-0.5", "n=2"],
    ],
)
def test_all_spellings_give_the_same(words: list[str]) -> None:
    rankgen, overlap = parse_rankers(words)
    assert rankgen.values == {"path": "DIR", "truncation": "released", "batch_size": 32}
    assert overlap.values == {"n": 2, "weight": -0.5}
    assert str(rankgen) == "rankgen:path=DIR,truncation=released,batch_size=32"
    assert str(overlap) == "overlap:n=2,weight=-0.5"


def test_paths_may_have_colons_and_commas() -> None:
    (choice,) = parse_rankers(["rankgen", "path=C:/a,b"])
    assert choice.values["path"] == "C:/a,b"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["overlpa"], r"unknown ranker 'overlpa' \(did you mean overlap\?\); known: .*rankgen, sentence, "),
        (["path=DIR"], "'path=DIR' names no ranker; known: "),
        (["overlap:n"], "overlap: 'n' is not key=value"),
        (["overlap", "m=2"], r"ranker overlap has no 'm'.*; it takes: n, weight"),
        (["overlap:n=0"], "n=0 is not a whole number of 1 or more"),
        (["overlap", "weight=heavy"], "weight=heavy is not a number"),
        (["rankgen"], "ranker rankgen needs path: rankgen:path="),
        (["sentence", "batch_size=2"], "ranker sentence needs path"),
        (["overlap", "cross_encoder"], "ranker cross_encoder needs path"),
    ],
)
def test_errors_name_what_is_wrong_and_what_is_right(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_rankers(words)


def test_every_ranker_is_built_and_described() -> None:
    lines = describe_rankers().splitlines()[:-1]
    assert [line.split()[0] for line in lines if not line.startswith("    ")] == list(RANKERS)
    assert max(map(len, lines)) <= 132
    for kind in RANKERS.values():
        assert not kind.parameters or any(all(f"{key}=" in line for key in kind.parameters) for line in lines)


def no_model() -> Loaded:
    raise AssertionError("no model is needed")


def loaded(*words: str, model: Any = no_model) -> Any:
    return load_ranker(parse_rankers(words), model, "cpu")


def test_rankers_have_the_parameters_that_are_given(tmp_path: Path) -> None:
    RankGenRanker(tiny_encoder(), tiny_tokenizer()).save_pretrained(tmp_path)
    rankgen = loaded("rankgen", f"path={tmp_path}", "truncation=released", "batch_size=3")
    assert isinstance(rankgen, RankGenRanker)
    assert (rankgen.truncation, rankgen.batch_size) == ("released", 3)
    expected = RankGenRanker(tiny_encoder(), tiny_tokenizer()).score(PREFIXES, CANDIDATES)
    same(loaded("rankgen", f"path={tmp_path}").score(PREFIXES, CANDIDATES), expected)
    overlap, consensus = loaded("overlap:n=2"), loaded("consensus:n=2")
    assert isinstance(overlap, OverlapRanker)
    assert overlap.n == 2
    assert isinstance(consensus, ConsensusRanker)
    texts = [" the old sea", " the old dog"]
    assert consensus.utility(texts, texts).tolist() == NgramF1(n=2)(texts, texts).tolist()


def test_the_embedded_ranker() -> None:
    ranker = loaded("small")
    assert isinstance(ranker, RankGenRanker)
    (scores,) = ranker.score(
        ["The captain of the whaling ship looked at the sea."],
        [
            [
                " The whale rose beside the boat, and the men took their oars.",
                " My fellow citizens, the Congress has passed the act.",
            ]
        ],
    )
    assert scores[0] > scores[1]


def test_the_likelihood_is_the_models_own_or_anothers() -> None:
    own = load(str(AMATEUR), "cpu", "auto", trust_remote_code=False)
    ranker = loaded("likelihood:form=pmi", model=lambda: own)
    assert isinstance(ranker, LikelihoodRanker)
    assert ranker.model is own.model
    assert ranker.form == "pmi"
    other = loaded("likelihood", f"path={AMATEUR}")
    assert other.model is not own.model
    same(other.score(PREFIXES, CANDIDATES), LikelihoodRanker(own.model, own.tokenizer).score(PREFIXES, CANDIDATES))


def test_several_are_combined_by_their_weights() -> None:
    found = loaded("overlap:weight=2", "consensus:n=2,weight=-0.5")
    assert isinstance(found, CombinedRanker)
    assert found.weights == [2.0, -0.5]
    expected = CombinedRanker([OverlapRanker(), loaded("consensus:n=2")], weights=[2.0, -0.5])
    same(found.score(PREFIXES, CANDIDATES), expected.score(PREFIXES, CANDIDATES))
    alone, against = (loaded(f"overlap:weight={weight}").score(PREFIXES, CANDIDATES) for weight in (2, -2))
    same(against, [-own for own in alone])


def test_models_of_sentence_transformers() -> None:
    """A real one; its prompts are its own unless others are given."""
    pytest.importorskip("sentence_transformers", reason="needs an extra")
    folder = Path.home() / ".cache" / "counterpoint-models" / "all-minilm-l6-v2"
    if not folder.is_dir():
        pytest.skip("needs all-minilm-l6-v2: run get_models.py of the shared folder")
    ranker = loaded("sentence", f"path={folder}", "prefix_prompt=query: ", "batch_size=4")
    assert isinstance(ranker, SentenceTransformerRanker)
    assert (ranker.prefix_prompt, ranker.suffix_prompt, ranker.batch_size) == ("query: ", None, 4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rankgen", "path=./absent"], r"ranker rankgen:path=./absent.*: ./absent is neither a folder nor a repository"),
        (["rankgen", f"path={AMATEUR}"], r"ranker rankgen:path=.*: "),
        (["likelihood", "form=x"], "form=x is not one of log_likelihood, per_token, pmi"),
        (["overlap", "overlap:weight=0"], "^weights: 0.0 for OverlapRanker"),
        (["likelihood", "path=./absent"], "./absent is neither a local folder nor"),
    ],
)
def test_what_cannot_be_loaded_is_reported(words: list[str], message: str) -> None:
    own = load(str(AMATEUR), "cpu", "auto", trust_remote_code=False)
    with pytest.raises(ValueError, match=message):
        loaded(*words, model=lambda: own)
