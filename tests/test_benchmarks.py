"""Scripts that are written for machines that are not at hand run at toy size, so that they work when one is."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers.generation.streamers import BaseStreamer

from counterpoint.decoders import contrastive_search
from families import FAMILY, prompts

SCRIPTS = Path(__file__).resolve().parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not SCRIPTS.is_dir(), reason="a source distribution has no benchmarks")


@pytest.mark.slow
def test_the_accelerators_benchmark_runs_at_toy_size(tmp_path: Path) -> None:
    """Every method has a time, or the reason why there is none; a second start has nothing left to do."""
    command = [sys.executable, str(SCRIPTS / "accelerator.py"), "--toy", "--device", "cpu", "--output-dir", str(tmp_path)]
    for _ in range(2):
        subprocess.run([*command, "--contexts", "16"], check=True, capture_output=True, timeout=600)
    cases = json.loads((tmp_path / "accelerator.json").read_text(encoding="utf-8"))["cases"]
    by_shape = {case["shape"] for case in cases}
    assert by_shape == {"llama-toy", "qwen3-moe-toy"}
    for case in cases:
        assert case["failed"] is None, case
        assert case["ms"] > 0
    methods = {case["method"] for case in cases}
    assert {"greedy", "search", "static search", "loop of k rows", "CD", "DoLa, low", "CAD", "SLED", "speculative CD"} <= methods
    table = (tmp_path / "accelerator.md").read_text(encoding="utf-8")
    assert table.count("\n| ") == len(cases)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch's set_sync_debug_mode watches CUDA devices only")
def test_search_waits_for_the_device_no_more_than_greedy() -> None:
    model = FAMILY["llama"].build().to("cuda")
    ids, mask = (each.to("cuda") for each in prompts(model, (9, 7)))

    def waits(**arguments: object) -> int:
        counts = []
        for tokens in (2, 10):
            torch.cuda.set_sync_debug_mode("warn")
            try:
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always")
                    settings = {"do_sample": False, "max_new_tokens": tokens, "eos_token_id": None, "pad_token_id": 0}
                    model.generate(ids, attention_mask=mask, **settings, **arguments)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            counts.append(sum("synchronizing" in str(each.message) for each in told))
        return counts[1] - counts[0]

    search = {"custom_generate": contrastive_search, "penalty_alpha": 0.6, "top_k": 4, "cache_implementation": "static"}
    try:
        assert waits(**search) <= waits(cache_implementation="static") + 8 * 3  # check_logits twice, and the end of texts
    finally:
        model.to("cpu")


def test_methods_take_turns_token_by_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)
    turns = importlib.import_module("turns")
    order: list[tuple[str, int]] = []

    def writing(name: str) -> Callable[[BaseStreamer], None]:
        def write(streamer: BaseStreamer) -> None:
            for number in range(6):  # the prompt and five tokens
                order.append((name, number))
                streamer.put(torch.zeros(1))
            streamer.end()

        return write

    times = turns.taking_turns({name: writing(name) for name in ("one", "other")}, 5)
    assert order == [(name, number) for number in range(6) for name in ("one", "other")]
    assert {name: len(own) for name, own in times.items()} == {"one": 6 - turns.FIRST, "other": 6 - turns.FIRST}
    assert turns.ratio([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]) == (2.0, 2.0, 2.0)


def test_an_error_in_a_turn_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)
    turns = importlib.import_module("turns")

    def wrong(streamer: BaseStreamer) -> None:
        streamer.put(torch.zeros(1))
        raise ValueError("no such layer")

    with pytest.raises(ValueError, match="no such layer"):
        turns.taking_turns({"one": wrong, "other": lambda streamer: [streamer.put(torch.zeros(1)) for _ in range(6)]}, 5)
