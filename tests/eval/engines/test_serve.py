"""``counterpoint serve`` and ``transformers serve`` on the loopback: our decoders' own texts, and refusals by HTTP 400."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from counterpoint.decoders import decoder
from counterpoint.eval import AMATEUR, EXPERT
from counterpoint.eval.bench.records import read_generations
from counterpoint.eval.choosing import parse_decoder
from counterpoint.eval.cli.main import main
from counterpoint.eval.engines.client import Client, RefusedError
from counterpoint.eval.engines.endpoint import Endpoint
from counterpoint.eval.engines.serving import Choices, prompt_of
from counterpoint.eval.loading import load

PROMPT = "The whale rose in the sea"


@pytest.fixture(scope="module")
def choices() -> Choices:
    return Choices(load(str(EXPERT), "cpu", "auto", False), parse_decoder("contrastive_search"), {"small": str(AMATEUR)})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"n": 2}, "n=2: this server would ignore it"),
        ({"logprobs": 1}, "logprobs=1"),
        ({"echo": True}, "echo=True"),
        ({"best_of": 4}, "name decoder='best_of'"),
        ({"generation_config": "{}"}, "name a decoder"),
        ({"frequency_penalty": 0.5}, "repetition_penalty"),
        ({"decoder": "nothing"}, "unknown decoder 'nothing'"),
        ({"decoder": 3}, "decoder=3 is no choice"),
        ({"decoder": "os.path:Walker"}, "code of somebody's own"),
        ({"decoder": "./mine.py:Mine"}, "code of somebody's own"),
        ({"decoder": "contrastive_decoding:amateur=/etc"}, "amateur=/etc is not one of this server's: small"),
        ({"decoder": "contrastive_decoding:amateur_adapter=/etc"}, "amateur_adapter=/etc is a place on the server"),
        ({"decoder": "decore:heads=/etc/passwd"}, "heads=/etc/passwd is a place on the server"),
        ({"decoder": "best_of:ranker=[rankgen:path=/etc]"}, "path=/etc is a place on the server"),
        ({"decoder": "nucleus", "temperature": 0}, "temperature=0: nucleus draws"),
        ({"temperature": 0.7}, "decoder contrastive_search has no such setting"),
        ({"decoder": "beam", "stream": True}, "stream=true: beam"),
        ({"decoder": "context_aware"}, "context"),
        ({"stop": [1]}, "stop="),
        ({"seed": -1}, "seed=-1"),
        ({"prompt": ["a", "b"]}, "prompt is no text"),
        ({"prompt": ""}, "prompt is no text"),
    ],
)
def test_what_would_be_ignored_or_reach_a_file_is_refused(choices: Choices, body: dict[str, Any], message: str) -> None:
    pytest.importorskip("fastapi", reason="needs the extra serve")
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        choices.choose({"prompt": PROMPT, **body})


def test_a_request_is_a_decoder_with_its_settings(choices: Choices) -> None:
    assert choices.spec({}).name == "contrastive_search"
    assert choices.spec({"temperature": 0}).name == "contrastive_search"
    assert choices.spec({"decoder": "nucleus:top_p=0.9", "temperature": 0.5, "top_p": 0.8}).values["top_p"] == 0.8
    assert choices.spec({"decoder": "contrastive_decoding:amateur=small"}).values["amateur"] == str(AMATEUR)
    assert prompt_of({"messages": [{"role": "user", "content": "Hello"}]}).shown() == "Hello"


@pytest.fixture(scope="module")
def url(choices: Choices) -> Iterator[str]:
    """The server in a thread."""
    uvicorn = pytest.importorskip("uvicorn", reason="needs the extra serve")
    pytest.importorskip("fastapi", reason="needs the extra serve")
    from counterpoint.decoders.hf.serving.app import build_app

    chat: Any = choices.loaded.tokenizer
    chat.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    app = build_app("expert", choices.loaded.model, choices.loaded.tokenizer, choices.choose)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    server.should_exit = True
    thread.join()


def own(choice: str, tokens: int, seed: int = 0, **given: Any) -> str:
    """By ``generate``."""
    model: Any = AutoModelForCausalLM.from_pretrained(EXPERT)
    tokenizer: Any = AutoTokenizer.from_pretrained(EXPERT)
    inputs = tokenizer(PROMPT, return_tensors="pt")
    torch.manual_seed(seed)
    found = model.generate(**inputs, max_new_tokens=tokens, **decoder(choice, model, tokenizer, **given))
    return str(tokenizer.decode(found[0, inputs.input_ids.shape[1] :], skip_special_tokens=True))


CHOICES = [
    "greedy", "beam:num_beams=3", "nucleus:top_p=0.9", "contrastive_search:top_k=4", "adaptive_contrastive_search",
    "dola:layers=low", "frustratingly_simple", "contrastive_decoding",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES)
def test_texts_are_those_of_generate(url: str, choice: str) -> None:
    amateur = {"amateur": AutoModelForCausalLM.from_pretrained(AMATEUR)} if choice == "contrastive_decoding" else {}
    sent = f"{choice}:amateur=small" if amateur else choice
    body = {"model": "expert", "prompt": PROMPT, "max_tokens": 8, "decoder": sent, "seed": 5}
    found = Client(url).post("/v1/completions", body)["choices"][0]["text"]
    assert found == own(choice, 8, seed=5, **amateur)
    messages = [{"role": "user", "content": PROMPT}]
    del body["prompt"]
    chat = Client(url).post("/v1/chat/completions", {**body, "messages": messages})
    assert chat["choices"][0]["message"]["content"].strip() == found.strip()


@pytest.mark.slow
def test_the_default_decoder_and_streams(url: str) -> None:
    body = {"model": "expert", "prompt": PROMPT, "max_tokens": 8}
    whole = Client(url).post("/v1/completions", body)["choices"][0]["text"]
    assert whole == own("contrastive_search", 8)
    sent = json.dumps({**body, "stream": True}).encode()
    request = urllib.request.Request(f"{url}/completions", data=sent, headers={"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        lines = [line[6:] for line in answer.read().decode().split("\n") if line.startswith("data: {")]
    pieces = [json.loads(line)["choices"][0]["text"] for line in lines]
    assert "".join(pieces) == whole
    assert len(pieces) > 3


@pytest.mark.slow
def test_refusals_are_http_400_and_the_server_lives(url: str) -> None:
    client = Client(url)
    for body in ({"n": 3}, {"decoder": "mine.py:Mine"}, {"decoder": "x"}, {"max_tokens": 100_000}):
        with pytest.raises(RefusedError, match="HTTP 400"):
            client.post("/v1/completions", {"model": "expert", "prompt": PROMPT, "max_tokens": 2, **body})
    for path in ("/v1/responses", "/v1/systemone"):
        with pytest.raises(RefusedError, match="HTTP 400"):
            client.post(path, {"model": "expert"})
    with pytest.raises(RefusedError, match="HTTP 400"):
        client.post("/v1/completions", {"model": "/etc", "prompt": PROMPT})
    assert client.post("/v1/completions", {"model": "expert", "prompt": PROMPT, "max_tokens": 2})["choices"]


@pytest.mark.slow
def test_bench_by_this_server_is_bench_in_this_process(url: str, tmp_path: Path) -> None:
    decoders = ["greedy", "contrastive_search:top_k=3", "typical", "dola"]
    size = [
        "--limit",
        "3",
        "--max-new-tokens",
        "6",
        "--device",
        "cpu",
        "--quiet",
        "--metrics",
        "diversity",
        "--decoders",
        *decoders,
    ]
    server = ["--engine", "openai", "--base-url", url, "--model", "expert", "--tokenizer", str(EXPERT)]
    assert main(["bench", *size, *server, "--output-dir", str(tmp_path / "served")]) == 0
    assert main(["bench", *size, "--output-dir", str(tmp_path / "here"), "--batch-size", "1"]) == 0
    texts = [
        {
            (each["label"], each["index"]): each["text"]
            for each in read_generations(tmp_path / folder)
            if each["decoder"] != "typical"
        }
        for folder in ("served", "here")
    ]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 9


@pytest.mark.slow
def test_n_texts_are_refused_by_the_client(url: str) -> None:
    with pytest.raises(ValueError, match="counterpoint serve gives one text of a prompt and ignores n"):
        Endpoint(url, "expert").write([PROMPT], parse_decoder("nucleus"), max_new_tokens=2, n=2)


@pytest.mark.slow
def test_greedy_texts_of_transformers_serve(tmp_path: Path) -> None:
    """The server that others run, as a process of its own."""
    pytest.importorskip("fastapi", reason="needs the extra serve")
    pytest.importorskip("uvicorn", reason="needs the extra serve")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["serve", str(EXPERT), "--port", str(port), "--host", "127.0.0.1", "--device", "cpu"]
    run = "from transformers.cli.transformers import main; main()"
    with subprocess.Popen([sys.executable, "-c", run, *words], stderr=subprocess.DEVNULL) as process:
        try:
            client, end = Client(f"http://127.0.0.1:{port}", sleep=lambda _: time.sleep(0.5)), time.monotonic() + 120
            while time.monotonic() < end:
                try:
                    client.get("/health")
                    break
                except OSError:
                    continue
            endpoint = Endpoint(f"http://127.0.0.1:{port}", str(EXPERT))
            assert endpoint.server.name == "transformers"
            ((found,),) = endpoint.write([PROMPT], parse_decoder("greedy"), max_new_tokens=8)
            assert found.text == own("greedy", 8)
            for choice, message in (("contrastive_search", "counterpoint serve"), ("dola", "early layers")):
                with pytest.raises(ValueError, match=message):
                    endpoint.write([PROMPT], parse_decoder(choice), max_new_tokens=2)
        finally:
            process.terminate()
