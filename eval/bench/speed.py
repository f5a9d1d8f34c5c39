"""How fast decoders are and how much memory they take, relative to greedy search in the same rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from counterpoint.eval.bench.generation import generate
from counterpoint.eval.bench.passages import Passage
from counterpoint.eval.choosing import DecoderSpec, parse_decoder
from counterpoint.eval.loading import Loaded

REPEATS = 3
MOST_TOKENS = 64


def measure_speed(
    loaded: Loaded, specs: Sequence[DecoderSpec], passages: Sequence[Passage], max_new_tokens: int, tick: Callable[[str], object]
) -> list[dict[str, Any]]:
    """Time the decoders on one batch, turn by turn: a round to warm up, then rounds whose ratios are taken within each.

        relative = median over rounds of (tokens a second of the decoder / tokens a second of greedy search)

    No text ends before the others, so that all decoders produce the same number of tokens.

    Args:
        loaded: The model.
        specs: The decoders, greedy search among them or not.
        passages: The batch.
        max_new_tokens: Number of tokens in each text; more than 64 count as 64.
        tick: Called with a decoder's name before each of its turns.

    Returns:
        For every decoder ``tokens_per_second`` (the median), ``relative``, ``repeats`` (tokens a second of each round),
        ``peak_memory_bytes`` and ``relative_memory``: the most that was allocated on an accelerator, or the most that the process
        had resident on Linux, else None.
    """
    greedy = parse_decoder(["greedy"])
    timed = [greedy, *(spec for spec in specs if str(spec) != str(greedy))]
    tokens = min(max_new_tokens, MOST_TOKENS)
    speeds: dict[str, list[float]] = {str(spec): [] for spec in timed}
    peaks: dict[str, list[int]] = {str(spec): [] for spec in timed}
    for round_ in range(REPEATS + 1):
        for spec in timed:
            tick(spec.name)
            memory = PeakMemory(loaded.model.device)
            synchronise(loaded.model.device)
            begin = time.perf_counter()
            generate(loaded, spec, passages, 0, tokens, min_new_tokens=tokens)
            synchronise(loaded.model.device)
            seconds = time.perf_counter() - begin
            if round_ > 0:
                speeds[str(spec)].append(len(passages) * tokens / seconds)
                peaks[str(spec)].extend(memory.read())
    base, least = speeds[str(greedy)], peaks[str(greedy)]
    return [
        {
            "decoder": spec.name,
            "label": str(spec),
            "tokens_per_second": statistics.median(speeds[str(spec)]),
            "relative": statistics.median(own / other for own, other in zip(speeds[str(spec)], base, strict=True)),
            "repeats": speeds[str(spec)],
            "peak_memory_bytes": max(peaks[str(spec)], default=None),
            "relative_memory": max(peaks[str(spec)]) / max(least) if least else None,
            "batch_size": len(passages),
            "new_tokens": tokens,
        }
        for spec in specs
    ]


def synchronise(device: torch.device) -> None:
    """Wait for what was begun."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class PeakMemory:
    """The most memory since this object was made, where that can be known."""

    RESET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif device.type == "cpu" and self.RESET.exists():
            self.RESET.write_text("5", encoding="ascii")  # the peak of the resident set begins anew: man 5 proc

    def read(self) -> list[int]:
        """Bytes, or nothing."""
        if self.device.type == "cuda":
            return [torch.cuda.max_memory_allocated(self.device)]
        if self.device.type != "cpu" or not self.RESET.exists():
            return []
        status = dict(line.split(":", 1) for line in self.STATUS.read_text(encoding="utf-8").splitlines())
        return [int(status["VmHWM"].split()[0]) * 1024]
