"""``vllm serve`` on the loopback: the same requests at once over HTTP, and what it answers to those that are wrong.

python benchmarks/engines/served.py FOLDER: in vLLM's environment, after offline.py FOLDER equality, which writes the references.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from requests_and_texts import TOKENS, additional_config, cases, compared, table
from transformers import AutoTokenizer

from counterpoint.decoders import decoders
from counterpoint.eval import EXPERT

WRONG: tuple[dict[str, Any], ...] = (
    {"decoder": "dola"},
    {"decoder": "sled"},
    {"decoder": "layer_fusion"},
    {"decoder": "contrastive_search"},
    {"decoder": "decore"},
    {"decoder": "nucleus"},
    {"decoder": "unheard_of"},
    {"decoder": "counterpoint.decoders:TopNSigmaLogitsProcessor"},
    {"decoder": "mine.py:Class"},
    {"decoder": "contrastive_decoding", "amateur": "/etc/passwd"},
    {"decoder": "contrastive_decoding", "amateur": "large"},
    {"decoder": "contrastive_decoding", "amateur": ["small"]},
    {"decoder": "contrastive_decoding", "amateur": "small", "alpha": 2},
    {"decoder": "contrastive_decoding", "amateur": "small", "amateur_temperature": 0},
    {"decoder": "contrastive_decoding", "amateur": "small", "alhpa": 0.1},
    {"decoder": "context_aware"},
    {"decoder": "context_aware", "without_context": [10**6]},
    {"decoder": "context_aware", "without_context": [5] * 250},
    {"decodre": "p_less"},
)
"""Requests that are answered by 400."""


class Server:
    """``vllm serve`` of the embedded expert, as long as the context lasts; with few blocks requests are preempted."""

    def __init__(self, folder: Path, *, few_blocks: bool = True) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{(port := free.getsockname()[1])}"
        self.log = (folder / "serve.log").open("w")
        options = "--dtype float32 --enforce-eager --max-model-len 256 --max-num-seqs 4 --block-size 32"
        options += " --num-gpu-blocks-override 9" if few_blocks else ""
        plugin = ["--logits-processors", "counterpoint.eval.engines.vllm:ContrastProcessor"]
        additional = ["--additional-config", json.dumps(additional_config(folder / "adapter"))]
        command = [str(Path(sys.executable).parent / "vllm"), "serve", str(EXPERT), "--served-model-name", "expert"]
        address = ["--host", "127.0.0.1", "--port", str(port)]
        command += [*address, *options.split(), *plugin, *additional]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, start_new_session=True)

    def __enter__(self) -> Server:
        begun = time.monotonic()
        while time.monotonic() - begun < 1800 and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):  # noqa: S310
                    return self
            except OSError:
                time.sleep(1)
        self.__exit__()
        raise SystemExit(f"vllm serve did not start: see {self.log.name}")

    def __exit__(self, *_: object) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(300)  # a busy machine takes its time
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.log.close()

    def complete(self, prompt: str, fields: dict[str, Any] | None) -> tuple[int, Any]:
        """The status and the answer to a request."""
        body: dict[str, Any] = dict(model="expert", prompt=prompt, max_tokens=TOKENS, temperature=0, return_token_ids=True)
        if fields is not None:
            body["vllm_xargs"] = fields
        request = urllib.request.Request(  # noqa: S310 -- the loopback's
            f"{self.url}/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=1800) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


def main(folder: Path) -> int:
    """Both, with a table at the end."""
    expected = dict(zip(cases(), json.loads((folder / "references.json").read_text()), strict=True))
    with Server(folder) as server, ThreadPoolExecutor(len(expected)) as pool:
        answers = list(pool.map(lambda case: server.complete(case.prompt, case.fields), expected))
        found = {case: answer["choices"][0]["token_ids"] for case, (_, answer) in zip(expected, answers, strict=True)}
        refused = [server.complete("The whale", fields) for fields in WRONG]
        alive, _ = server.complete("The whale", None)
        metrics = urllib.request.urlopen(f"{server.url}/metrics").read().decode()  # noqa: S310
    equal = compared(found, expected, AutoTokenizer.from_pretrained(EXPERT).eos_token_id)
    print(table(equal))
    preempted = sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("vllm:num_preemptions_total"))
    print(f"preemptions: {preempted:.0f}")
    for fields, (status, answer) in zip(WRONG, refused, strict=True):
        print(f"{status} {str(fields)[:90]}: {answer.get('error', {}).get('message', '')[:140]}")
    right = [status == 400 and bool(answer["error"]["message"]) for status, answer in refused]
    print(
        f"refused with 400: {sum(right)} of {len(right)}; the server then answers {alive}; the table has {len(decoders())} decoders"
    )
    return int(not (all(right) and alive == 200 and preempted and all(one for each in equal.values() for one in each)))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
