"""A model behind an endpoint: it writes what it writes in this process, and what does not come back as asked is named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from counterpoint.eval import EXPERT
from counterpoint.eval.choosing import parse_decoder
from counterpoint.eval.engines.answers import AnswerError
from counterpoint.eval.engines.endpoint import FIXED, Endpoint, same_model
from counterpoint.rankers.engines import Engine
from stub_server import Stub, StubModel, serving

PROMPTS = ["The whale rose", "She was"]


@pytest.fixture(params=["vllm", "openai"])
def stub(model: StubModel, request: pytest.FixtureRequest) -> Iterator[Stub]:
    with serving(Stub(model, request.param)) as running:
        yield running


@pytest.fixture
def vllm(model: StubModel) -> Iterator[Stub]:
    with serving(Stub(model)) as running:
        yield running


def endpoint_of(stub: Stub, tokenizer: bool = True) -> Endpoint:
    found = Endpoint(stub.url, "stub", tokenizer=stub.model.tokenizer if tokenizer else None, concurrency=2)
    stub.requests.clear()
    return found


def greedy(model: StubModel, prompt: str, tokens: int) -> list[int]:
    """By ``generate`` alone."""
    given = model.tokenizer(prompt, return_tensors="pt")
    found: Any = model.model.generate(**given, do_sample=False, max_new_tokens=tokens)
    return found[0, given.input_ids.shape[1] :].tolist()


def test_greedy_text_is_that_of_this_process(stub: Stub) -> None:
    endpoint: Engine = endpoint_of(stub)
    found = endpoint.write(PROMPTS, parse_decoder("greedy"), max_new_tokens=6)
    for prompt, (text,) in zip(PROMPTS, found, strict=True):
        own = greedy(stub.model, prompt, 6)
        assert prompt + text.text == stub.model.tokenizer.decode([*stub.model.ids(prompt), *own])
        assert (text.tokens, text.finished) == (6, False)
        assert text.ids == (tuple(own) if stub.kind == "vllm" else None)


def test_tokens_are_sent_where_they_are_taken(vllm: Stub) -> None:
    ids = tuple(vllm.model.ids(PROMPTS[0]))
    endpoint_of(vllm).write([ids], parse_decoder("greedy"), max_new_tokens=2)
    assert vllm.requests[0]["prompt"] == list(ids)


def test_likelihoods_are_the_models(vllm: Stub) -> None:
    pairs = [(vllm.model.ids(prompt), greedy(vllm.model, prompt, 4)) for prompt in PROMPTS]
    found = endpoint_of(vllm).log_probabilities(pairs)
    for (before, after), scores in zip(pairs, found, strict=True):
        logits = vllm.model.model(torch.tensor([[*before, *after]])).logits[0].detach().log_softmax(-1)
        own = [float(logits[len(before) - 1 + place, token]) for place, token in enumerate(after)]
        assert scores == pytest.approx(own, abs=1e-4)


def test_a_text_comes_with_its_log_probabilities_if_they_are_asked_for(stub: Stub) -> None:
    ((found,),) = endpoint_of(stub).write(PROMPTS[:1], parse_decoder("greedy"), max_new_tokens=3, log_probabilities=True)
    assert found.log_probabilities is not None
    assert len(found.log_probabilities) == found.tokens == 3


def test_candidates_are_as_many_as_were_asked_for(stub: Stub) -> None:
    (found,) = endpoint_of(stub).write(PROMPTS[:1], parse_decoder("nucleus"), max_new_tokens=3, n=4, seeds=[7])
    assert len(found) == 4
    assert stub.requests[0]["seed"] == 7


@pytest.mark.parametrize(
    ("kind", "choice", "sent"),
    [
        ("vllm", "greedy", {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}),
        ("vllm", "sample:temperature=0.7,top_k=5", {"temperature": 0.7, "top_k": 5, "top_p": 1.0}),
        ("vllm", "nucleus:top_p=0.9,repetition_penalty=1.2", {"top_p": 0.9, "repetition_penalty": 1.2, "min_p": 0.0}),
        ("vllm", "top_k:top_k=7", {"top_k": 7, "temperature": 1.0}),
        ("vllm", "min_p:min_p=0.2", {"min_p": 0.2, "top_k": 0}),
        ("openai", "greedy", {"temperature": 0.0}),
        ("openai", "sample", {"temperature": 1.0, "top_p": 1.0}),
        ("openai", "nucleus:top_p=0.9", {"temperature": 1.0, "top_p": 0.9}),
    ],
)
def test_what_a_decoder_sends(model: StubModel, kind: str, choice: str, sent: dict[str, Any]) -> None:
    with serving(Stub(model, kind)) as stub:
        endpoint_of(stub).write(PROMPTS[:1], parse_decoder(choice), max_new_tokens=1)
        (request,) = stub.requests
    assert sent.items() <= request.items()
    known = {"model", "path", "prompt", "max_tokens", "return_token_ids"} | {*endpoint_fields(kind)}
    assert request.keys() <= known


def endpoint_fields(kind: str) -> list[str]:
    return ["temperature", "top_p"] + (["top_k", "min_p", "repetition_penalty"] if kind == "vllm" else [])


def test_beams_are_the_servers(vllm: Stub) -> None:
    endpoint = endpoint_of(vllm)
    (found,) = endpoint.write(PROMPTS[:1], parse_decoder("beam:num_beams=3"), max_new_tokens=2)
    assert vllm.requests[0]["use_beam_search"] is True
    assert vllm.requests[0]["n"] == 3
    assert len(found) == 1


@pytest.mark.parametrize(
    ("kind", "choice", "reason"),
    [
        ("vllm", "typical", "take nucleus or min_p there"),
        ("vllm", "contrastive_search", "reads the model's hidden states"),
        ("vllm", "dola", "reads the model's early layers"),
        ("vllm", "nucleus:no_repeat_ngram_size=3", "no field for no_repeat_ngram_size=3"),
        ("vllm", "contrastive_decoding:amateur=small", "this vLLM ignores vllm_xargs: start it with --logits-processors"),
        ("openai", "min_p", "no such decoder"),
        ("openai", "nucleus:top_k=5", "no field for top_k=5"),
        ("transformers", "contrastive_search", "counterpoint serve"),
    ],
)
def test_what_a_server_cannot_do_is_refused_by_name(model: StubModel, kind: str, choice: str, reason: str) -> None:
    with serving(Stub(model, kind)) as stub, pytest.raises(ValueError, match=reason):
        endpoint_of(stub).write(PROMPTS, parse_decoder(choice), max_new_tokens=2)


def test_a_contrast_goes_to_the_plugin_where_there_is_one(model: StubModel) -> None:
    spec = parse_decoder("contrastive_reasoning:amateur=small,beta=0.3")
    with serving(Stub(model, plugin=True)) as stub:
        endpoint_of(stub).write(PROMPTS[:1], spec, max_new_tokens=2)
    sent = stub.requests[-1]["vllm_xargs"]
    assert sent == {"decoder": "contrastive_reasoning", "amateur": "small", "alpha": 0.1, "beta": 0.3}
    assert stub.requests[-1]["temperature"] == 0.0


def test_a_context_is_left_out_for_the_plugin(model: StubModel) -> None:
    with serving(Stub(model, plugin=True)) as stub:
        endpoint_of(stub).write(["It sank.\n\nWhat sank?"], parse_decoder("context_aware"), max_new_tokens=2)
    sent = stub.requests[-1]["vllm_xargs"]
    assert sent == {"decoder": "context_aware", "beta": 0.5, "without_context": model.ids("What sank?")}


def test_one_text_of_a_prompt_is_all_that_some_servers_give(model: StubModel) -> None:
    with serving(Stub(model, "transformers")) as stub, pytest.raises(ValueError, match="ignores n"):
        endpoint_of(stub).write(PROMPTS[:1], parse_decoder("nucleus"), max_new_tokens=2, n=2)


BROKEN = {
    "choices": (lambda found: {**found, "choices": found["choices"][:1]}, "n=2 texts were asked for, and the server gave 1"),
    "places": (lambda found: {**found, "choices": [{**each, "index": 0} for each in found["choices"]]}, "have the places"),
    "ids": (lambda found: changed(found, token_ids=None), "tokens were asked for"),
    "too many": (lambda found: changed(found, token_ids=[1, 2, 3, 4]), "has 4 tokens, where 0 to 3"),
    "scores": (lambda found: changed(found, logprobs=None), "log-probabilities were asked for"),
    "few scores": (lambda found: changed(found, logprobs={"token_logprobs": [-1.0]}), "1 log-probabilities for 3 tokens"),
    "no score": (lambda found: changed(found, logprobs={"token_logprobs": [-1.0, None, -1.0]}), "None for a log-probability"),
    "above 0": (lambda found: changed(found, logprobs={"token_logprobs": [-1.0, 2.0, -1.0]}), "2.0 for a log-probability"),
    "text": (lambda found: changed(found, text=None), "has no text"),
    "reason": (lambda found: changed(found, finish_reason="content_filter"), "finish_reason='content_filter'"),
    "nothing": (lambda _: {"object": "error"}, "no list of choices"),
}


def changed(found: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {**found, "choices": [{**each, **values} for each in found["choices"]]}


@pytest.mark.parametrize("name", BROKEN)
def test_what_did_not_come_is_named(vllm: Stub, name: str) -> None:
    change, message = BROKEN[name]
    endpoint = endpoint_of(vllm)
    vllm.change = lambda _, found: change(found)
    with pytest.raises(AnswerError, match=message):
        endpoint.write(PROMPTS[:1], parse_decoder("nucleus"), max_new_tokens=3, n=2, seeds=[0], log_probabilities=True)


def test_likelihoods_that_do_not_come_are_named(vllm: Stub) -> None:
    endpoint = endpoint_of(vllm)
    vllm.change = lambda _, found: changed(found, logprobs=None)
    with pytest.raises(AnswerError, match="echo with logprobs"):
        endpoint.log_probabilities([((5, 6), (7,))])
    vllm.change = lambda _, found: changed(found, logprobs={"token_logprobs": [None, -1.0]})
    with pytest.raises(AnswerError, match="2 log-probabilities for the 3 tokens"):
        endpoint.log_probabilities([((5, 6), (7,))])


def test_chats_go_as_messages(stub: Stub) -> None:
    from counterpoint.decoders.forwards.chats import Chat

    endpoint = endpoint_of(stub)
    chat = Chat(({"role": "user", "content": "The whale rose"},))
    ((found,),) = endpoint.write([chat], parse_decoder("greedy"), max_new_tokens=3)
    assert stub.requests[0]["path"] == "/v1/chat/completions"
    assert found.tokens == 3


def test_another_models_tokenizer_is_refused(vllm: Stub) -> None:
    other: Any = AutoTokenizer.from_pretrained(EXPERT)
    other.add_tokens(["captain"])
    with pytest.raises(ValueError, match="is not that of the server's stub"):
        Endpoint(vllm.url, "stub", tokenizer=other)


def test_a_model_that_the_server_has_not_is_named(stub: Stub) -> None:
    with pytest.raises(ValueError, match="has no such model; it has stub"):
        Endpoint(stub.url, "other")


def test_other_weights_have_another_fingerprint(vllm: Stub) -> None:
    one = endpoint_of(vllm).fingerprint
    assert same_model(one, endpoint_of(vllm).fingerprint)
    with serving(Stub(StubModel(str(EXPERT)))) as other:
        assert not same_model(one, endpoint_of(other).fingerprint)
    assert len(one.split()) == len(vllm.model.ids(FIXED))  # a word of its own, and all tokens but the first


def test_a_server_without_log_probabilities_is_known_by_its_greedy_text(model: StubModel) -> None:
    with serving(Stub(model, "transformers")) as stub:
        assert endpoint_of(stub, tokenizer=False).fingerprint.startswith("greedy text ")
