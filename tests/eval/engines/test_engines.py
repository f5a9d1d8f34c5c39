"""Engines are alike: this process, a server, and whatever else has ``write`` and ``log_probabilities``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from counterpoint.decoders.forwards.encoding import encode_pair
from counterpoint.eval.choosing import parse_decoder
from counterpoint.eval.engines.endpoint import Endpoint
from counterpoint.eval.engines.in_process import HuggingFaceEngine
from counterpoint.rankers import LikelihoodRanker, OverlapRanker, best_of, ranked_search
from counterpoint.rankers.engine_likelihood import EngineLikelihoodRanker
from counterpoint.rankers.engines import Engine
from counterpoint.rankers.likelihood import FORMS
from counterpoint.rankers.search.over_engines import best_of_written, ranked_search_written
from stub_server import Stub, StubModel, serving

PROMPT = "The whale rose in the sea"


@pytest.fixture(scope="module")
def model() -> StubModel:
    return StubModel()


@pytest.fixture(scope="module", params=["in process", "endpoint"])
def engine(model: StubModel, request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "in process":
        yield HuggingFaceEngine(model.model, model.tokenizer)
        return
    with serving(Stub(model)) as stub:
        yield Endpoint(stub.url, "stub", tokenizer=model.tokenizer)


def test_both_write_the_same(model: StubModel, engine: Engine) -> None:
    given = model.tokenizer(PROMPT, return_tensors="pt")
    own: Any = model.model.generate(**given, do_sample=False, max_new_tokens=6)
    expected = own[0, given.input_ids.shape[1] :].tolist()
    for prompt in (PROMPT, tuple(model.ids(PROMPT))):
        ((found,),) = engine.write([prompt], parse_decoder("greedy"), max_new_tokens=6, log_probabilities=True)
        assert found.ids == tuple(expected)
        assert found.log_probabilities == pytest.approx(model.scores([*model.ids(PROMPT), *expected])[-6:], abs=1e-4)


def test_drawn_texts_are_those_of_the_seed(engine: Engine) -> None:
    spec = parse_decoder("sample")
    first, second = (engine.write([PROMPT], spec, max_new_tokens=5, n=3, seeds=[seed]) for seed in (1, 2))
    assert engine.write([PROMPT], spec, max_new_tokens=5, n=3, seeds=[1]) == first
    assert first != second
    assert len({each.ids for each in first[0]}) > 1


def test_likelihoods_are_those_of_the_model(model: StubModel, engine: Engine) -> None:
    pairs = [encode_pair(model.tokenizer, PROMPT, text) for text in (" and sank", " again", " quite by accident")]
    found = engine.log_probabilities(pairs)
    for (before, after), scores in zip(pairs, found, strict=True):
        assert scores == pytest.approx(model.scores([*before, *after])[len(before) - 1 :], abs=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_the_likelihood_ranker_is_the_same_over_an_engine(model: StubModel, engine: Engine, form: str) -> None:
    texts = [[" and sank", " again", " quite by accident", " again"], [" she said"], []]
    prefixes = [PROMPT, "Yes,", "No,"]
    own = LikelihoodRanker(model.model, model.tokenizer, form=form).score(prefixes, texts)
    found = EngineLikelihoodRanker(engine, model.tokenizer, form=form).score(prefixes, texts)
    for one, other in zip(own, found, strict=True):
        assert other.tolist() == pytest.approx(one.tolist(), abs=1e-3)


def test_what_the_likelihood_ranker_refuses(model: StubModel, engine: Engine) -> None:
    with pytest.raises(ValueError, match="form='nothing'"):
        EngineLikelihoodRanker(engine, model.tokenizer, form="nothing")


def test_the_best_of_several_is_first(model: StubModel, engine: Engine) -> None:
    ranker = EngineLikelihoodRanker(engine, model.tokenizer)
    asked: dict[str, Any] = {"candidates": 4, "max_new_tokens": 5, "seed": 3}
    found = best_of_written(engine, PROMPT, PROMPT, ranker, parse_decoder("sample"), **asked)
    own = ranker.score([PROMPT], [[each.text for each, _ in found]])[0].tolist()
    assert [score for _, score in found] == pytest.approx(own, abs=1e-4)
    assert own == sorted(own, reverse=True)
    assert len(found) == 4


def test_one_candidate_of_a_greedy_round_is_the_greedy_text(model: StubModel, engine: Engine) -> None:
    """However many rounds there are, tokens go on where they ended."""
    ids = tuple(model.ids(PROMPT))
    given = model.tokenizer(PROMPT, return_tensors="pt")
    own: Any = model.model.generate(**given, do_sample=False, max_new_tokens=7)
    found = ranked_search_written(
        engine, model.tokenizer, ids, PROMPT, OverlapRanker(), parse_decoder("top_k:top_k=1"),
        beams=1, candidates=1, tokens_per_round=3, max_new_tokens=7,
    )  # fmt: skip
    assert found[0][0].ids == tuple(own[0, len(ids) :].tolist())


def test_a_ranked_search_keeps_the_best_of_every_round(model: StubModel, engine: Engine) -> None:
    ids = tuple(model.ids(PROMPT))
    settings: dict[str, Any] = {"beams": 2, "candidates": 3, "tokens_per_round": 3}
    found = ranked_search_written(
        engine, model.tokenizer, ids, PROMPT, OverlapRanker(), parse_decoder("sample"), **settings, max_new_tokens=8, seed=5
    )
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)
    assert len(found) <= 2 * 3 + 2  # beams that ended stay
    assert found[0][0].ids is not None
    assert len(found[0][0].ids) <= 8
    (again,) = OverlapRanker().score([PROMPT], [[found[0][0].text]])
    assert float(again[0]) == pytest.approx(scores[0])


def test_an_engine_without_tokens_is_refused_by_ranked_search(model: StubModel) -> None:
    ids, spec = tuple(model.ids(PROMPT)), parse_decoder("sample")
    with serving(Stub(model, "openai")) as stub:
        engine = Endpoint(stub.url, "stub", tokenizer=model.tokenizer)
        with pytest.raises(ValueError, match="needs an engine that gives tokens"):
            ranked_search_written(engine, model.tokenizer, ids, PROMPT, OverlapRanker(), spec, max_new_tokens=4)


@pytest.mark.parametrize("search", [best_of, ranked_search])
def test_rules_are_those_of_generate(model: StubModel, search: Any) -> None:
    """With one token that can be drawn, candidates are alike here and there, and so is what is chosen."""
    engine, ranker, ids = HuggingFaceEngine(model.model, model.tokenizer), OverlapRanker(), tuple(model.ids(PROMPT))
    drawn = parse_decoder("top_k:top_k=1")
    if search is best_of:
        own = best_of_written(engine, PROMPT, PROMPT, ranker, drawn, candidates=3, max_new_tokens=6)
    else:
        own = ranked_search_written(engine, model.tokenizer, ids, PROMPT, ranker, drawn, max_new_tokens=6)
    settings = {"do_sample": True, "top_k": 1, "ranker": ranker, "processing_class": model.tokenizer}
    given = model.tokenizer(PROMPT, return_tensors="pt")
    found: Any = model.model.generate(**given, custom_generate=search, max_new_tokens=6, **settings)
    assert own[0][0].ids == tuple(found[0, len(ids) :].tolist())


@pytest.mark.parametrize(("choice", "n", "message"), [("greedy", 2, "n=2"), ("best_of:ranker=overlap", 1, "a ranker chooses")])
def test_what_an_engine_in_this_process_refuses(model: StubModel, choice: str, n: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HuggingFaceEngine(model.model, model.tokenizer).write([PROMPT], parse_decoder(choice), max_new_tokens=2, n=n)
