"""A server of OpenAI's protocol on the loopback, with a model of this process behind it, that fails as it is told to.

It answers as vLLM does, or as other kinds: what is not known is ignored with HTTP 200, which is what a client has to notice.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from counterpoint.eval import AMATEUR

Body = dict[str, Any]


class StubModel:
    """The embedded amateur, as a server's model."""

    def __init__(self, path: str = str(AMATEUR)) -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(path).eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(path)
        self.lock = threading.Lock()

    def ids(self, prompt: str | list[int]) -> list[int]:
        return self.tokenizer(prompt).input_ids if isinstance(prompt, str) else list(prompt)

    def texts(self, ids: Sequence[int], body: Body) -> list[list[int]]:
        """New tokens of each choice, greedy or drawn."""
        temperature = body.get("temperature", 1.0)
        drawn = {"do_sample": True, "temperature": temperature, "top_p": body.get("top_p", 1.0), "top_k": body.get("top_k", 0)}
        settings = drawn if temperature else {"do_sample": False}
        with self.lock:
            torch.manual_seed(body.get("seed", 0))
            given = torch.tensor([list(ids)] * body.get("n", 1))
            out = self.model.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=body["max_tokens"], **settings)
        rows = out[:, len(ids) :].tolist()
        end = self.tokenizer.eos_token_id
        return [row[: row.index(end) + 1] if end in row else row for row in rows]

    @torch.no_grad()
    def scores(self, ids: Sequence[int]) -> list[float]:
        """ln p of all but the first."""
        found = self.model(torch.tensor([list(ids)])).logits[0].log_softmax(-1)
        return [float(found[place, token]) for place, token in enumerate(ids[1:])]


class Stub:
    """What the server is and does.

    Args:
        model: What answers.
        kind: "vllm", "transformers" or "openai".
        key: The bearer token that it wants; "" for none.
        plugin: Whether a logits processor reads ``vllm_xargs``.
    """

    def __init__(self, model: StubModel, kind: str = "vllm", key: str = "", plugin: bool = False) -> None:
        self.model, self.kind, self.key, self.plugin = model, kind, key, plugin
        self.requests: list[Body] = []
        self.most_open = self.open = 0
        self.lock = threading.Lock()
        self.faults: list[Callable[[BaseHTTPRequestHandler, Body], bool]] = []
        """Called in turn, one for each request for texts; True if it answered in the server's place."""
        self.change: Callable[[Body, Body], Body] = lambda body, answer: answer
        """What becomes of an answer."""
        self.url = ""

    @contextmanager
    def counted(self) -> Iterator[None]:
        """A request that is being answered."""
        with self.lock:
            self.open += 1
            self.most_open = max(self.most_open, self.open)
        yield
        with self.lock:
            self.open -= 1

    def entry(self) -> Body:
        extra: Mapping[str, Body] = {"vllm": {"owned_by": "vllm", "max_model_len": 256}, "transformers": {"status": {}}}
        return {"id": "stub", "object": "model", "owned_by": "somebody", **extra.get(self.kind, {})}

    def answer(self, body: Body) -> Body:
        ids = self.model.ids(body["prompt"])
        whole = self.kind == "vllm"
        if body.get("echo"):
            scores = [None, *self.model.scores(ids)]
            choice: Body = {"index": 0, "text": "", "finish_reason": "length", "logprobs": {"token_logprobs": scores}}
            choices = [choice | ({"prompt_token_ids": ids, "token_ids": []} if body.get("return_token_ids") else {})]
            return {"choices": choices, "usage": {"completion_tokens": 0}}
        choices = []
        new = self.model.texts(ids, body if self.kind != "transformers" else {**body, "n": 1, "temperature": 0})
        for index, row in enumerate(new):
            ended = row[-1] == self.model.tokenizer.eos_token_id
            text = self.model.tokenizer.decode([*ids, *row], skip_special_tokens=True)
            before = self.model.tokenizer.decode(ids, skip_special_tokens=True)
            choice = {"index": index, "text": text[len(before) :], "finish_reason": "stop" if ended else "length"}
            if whole and body.get("return_token_ids"):
                choice |= {"token_ids": row}
            if body.get("logprobs"):
                choice |= {"logprobs": {"token_logprobs": self.model.scores([*ids, *row])[len(ids) - 1 :]}}
            choices.append(choice)
        return {"choices": choices, "usage": {"completion_tokens": sum(map(len, new))}}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    stub: Stub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def send(self, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), "Connection": "close", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.send(200, {"object": "list", "data": [self.stub.entry()]})
        else:
            self.send(404, {"error": {"message": "nothing here"}})

    def do_POST(self) -> None:
        stub = self.stub
        body: Body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if stub.key and self.headers.get("Authorization") != f"Bearer {stub.key}":
            self.send(401, {"error": {"message": f"wrong key: {self.headers.get('Authorization')}"}})
            return
        stub.requests.append({**body, "path": self.path})
        if stub.faults and stub.faults.pop(0)(self, body):
            return
        with stub.counted():
            answer = self.answer(body)
        self.send(*answer)

    def answer(self, body: Body) -> tuple[int, Body]:
        """Status and content."""
        stub = self.stub
        if self.path == "/v1/chat/completions":
            prompt = "\n".join(message["content"] for message in body["messages"])
            found = stub.answer({**body, "prompt": prompt})
            found["choices"] = [{**each, "message": {"role": "assistant", "content": each["text"]}} for each in found["choices"]]
        elif "vllm_xargs" in body and stub.plugin and body["vllm_xargs"]["decoder"] == "no_such_decoder":
            return 400, {"error": {"message": "no such decoder"}}
        else:
            found = stub.answer(body)
        return 200, stub.change(body, found)


@contextmanager
def serving(stub: Stub) -> Iterator[Stub]:
    """The server while it runs, under ``stub.url``."""
    handler = type("OwnHandler", (Handler,), {"stub": stub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        stub.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        try:
            yield stub
        finally:
            server.shutdown()
            thread.join()


def drop(handler: BaseHTTPRequestHandler, _: Body) -> bool:
    """The connection breaks."""
    handler.close_connection = True
    return True


def status(code: int, headers: Mapping[str, str] | None = None) -> Callable[[Any, Body], bool]:
    """HTTP ``code``."""

    def fault(handler: Any, _: Body) -> bool:
        handler.send(code, {"error": {"message": f"fault {code}"}}, headers)
        return True

    return fault


def half(handler: Any, _: Body) -> bool:
    """An answer that ends before it should."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True
    return True


def garbage(handler: Any, _: Body) -> bool:
    """No JSON."""
    handler.send(200, b"<html>busy</html>")
    return True
