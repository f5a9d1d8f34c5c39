"""The client against a server that fails: what is tried again, how long it waits, and what is in no error."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

import stub_server
from counterpoint.eval.choosing import parse_decoder
from counterpoint.eval.engines.client import TRIES, Client, EndpointError, RefusedError
from counterpoint.eval.engines.concurrent import concurrently, gathered
from counterpoint.eval.engines.endpoint import Endpoint
from stub_server import Stub, StubModel, serving

BODY = {"model": "stub", "prompt": "The whale", "max_tokens": 2, "temperature": 0}


def client_of(stub: Stub, **options: Any) -> tuple[Client, list[float]]:
    """A client, and the seconds for which it waits, without waiting."""
    waited: list[float] = []
    return Client(stub.url, sleep=waited.append, **options), waited


@pytest.mark.parametrize(
    "fault", [stub_server.drop, stub_server.half, stub_server.garbage, *map(stub_server.status, (429, 500, 502, 503))]
)
def test_what_fails_for_the_moment_is_tried_again(stub: Stub, fault: Callable[[Any, Any], bool]) -> None:
    client, waited = client_of(stub)
    stub.faults = [fault, fault]
    assert len(client.post("/v1/completions", BODY)["choices"]) == 1
    assert len(stub.requests) == 3
    assert 0.25 <= waited[0] <= 0.5 <= waited[1] <= 1.0


@pytest.mark.parametrize("code", [400, 403, 404, 422])
def test_what_is_refused_is_never_tried_again(stub: Stub, code: int) -> None:
    client, waited = client_of(stub)
    stub.faults = [stub_server.status(code)]
    with pytest.raises(RefusedError, match=f"HTTP {code}: fault {code}"):
        client.post("/v1/completions", BODY)
    assert len(stub.requests) == 1
    assert waited == []


def test_retry_after_is_honoured(stub: Stub) -> None:
    client, waited = client_of(stub)
    stub.faults = [stub_server.status(429, {"Retry-After": "17"}), stub_server.status(503, {"Retry-After": "0.5"})]
    client.post("/v1/completions", BODY)
    assert waited == [17.0, 0.5]


def test_a_server_that_asks_for_an_hour_is_left_alone(stub: Stub) -> None:
    client, waited = client_of(stub)
    stub.faults = [stub_server.status(429, {"Retry-After": "3600"})]
    with pytest.raises(EndpointError, match="left alone for 3600 s"):
        client.post("/v1/completions", BODY)
    assert waited == []


def test_a_server_that_is_gone_is_named_after_so_many_tries(stub: Stub) -> None:
    client, waited = client_of(stub)
    stub.faults = [stub_server.drop] * TRIES
    with pytest.raises(EndpointError, match=f"tried {TRIES} times.*the same command goes on"):
        client.post("/v1/completions", BODY)
    assert len(waited) == TRIES - 1
    assert all(pause <= 30 for pause in waited)


def test_a_slow_answer_times_out_and_is_asked_for_again(stub: Stub) -> None:
    client, _ = client_of(stub, timeout=0.2)
    released = threading.Event()

    def slow(_: Any, __: Any) -> bool:
        released.wait(10)
        return False

    stub.faults = [slow]
    try:
        assert len(client.post("/v1/completions", BODY)["choices"]) == 1
    finally:
        released.set()
    assert len(stub.requests) >= 2


def test_the_key_is_sent_and_shown_nowhere(model: StubModel) -> None:
    with serving(Stub(model, key="sk-secret")) as stub:
        assert Client(stub.url, "sk-secret").post("/v1/completions", BODY)["choices"]
        assert "sk-secret" not in repr(vars(Endpoint(stub.url, "stub", key="sk-secret"))["client"])
        with pytest.raises(RefusedError) as caught:  # the server repeats what it was sent
            Client(stub.url, "sk-other").post("/v1/completions", BODY)
    assert "wrong key: Bearer ***" in str(caught.value)
    assert "sk-other" not in str(caught.value)


def test_a_redirect_is_refused_so_that_a_key_goes_nowhere_else(stub: Stub) -> None:
    client, _ = client_of(stub)
    stub.faults = [stub_server.status(307, {"Location": "http://127.0.0.1:9/v1/completions"})]
    with pytest.raises(RefusedError, match="HTTP 307"):
        client.post("/v1/completions", BODY)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "127.0.0.1:8000", "http://", "http://me:secret@host/v1", "http://host/v1?key=1"]
)
def test_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        Client(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_an_address_may_have_v1_or_not(ending: str) -> None:
    assert Client(f"http://host:8000/openai{ending}").root == "http://host:8000/openai"


def test_no_more_requests_are_open_than_were_allowed(stub: Stub) -> None:
    endpoint = Endpoint(stub.url, "stub", concurrency=3)
    endpoint.write(["The whale"] * 9, parse_decoder("greedy"), max_new_tokens=2)
    assert 1 <= stub.most_open <= 3


def test_answers_come_as_they_are_done_and_errors_with_their_items() -> None:
    last = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            last.wait(10)
        elif number == 3:
            last.set()
            raise KeyError(number)
        return number

    found = list(concurrently(work, [0, 1, 2, 3], 2))
    assert sorted(item for item, _ in found) == [0, 1, 2, 3]
    assert found[0][0] == 1  # 0 waits for 3
    assert isinstance(dict(found)[3], KeyError)
    with pytest.raises(KeyError):
        gathered(work, [1, 3], 1)
    assert gathered(work, [2, 1], 2) == [2, 1]


def test_whoever_stops_asking_stops_the_rest() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return number

    for item, _ in concurrently(work, range(100), 1):
        if item == 2:
            break
    assert len(begun) <= 4
