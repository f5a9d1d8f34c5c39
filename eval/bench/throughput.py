"""A server's throughput at a stated number of open requests, which is no speed of a decoder in this process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from counterpoint.eval.bench.generation import continue_served
from counterpoint.eval.bench.passages import Passage
from counterpoint.eval.bench.speed import MOST_TOKENS, REPEATS
from counterpoint.eval.choosing import DecoderSpec, parse_decoder
from counterpoint.eval.engines.concurrent import gathered
from counterpoint.eval.engines.served import Served


def measure_throughput(
    served: Served, specs: Sequence[DecoderSpec], passages: Sequence[Passage], max_new_tokens: int, tick: Callable[[str], object]
) -> list[dict[str, Any]]:
    """Tokens a second of all requests together, network and queue included: a round to warm up, then rounds turn by turn.

    Texts end where they end, so that decoders are not of equal length; candidates that a ranker drops count for nothing. What else
    the server does at the time is in the figures.

    Args:
        served: The server.
        specs: The decoders, greedy search among them or not.
        passages: The prompts, as many of them at a time as the endpoint's ``concurrency``.
        max_new_tokens: The most tokens of a text; more than 64 count as 64.
        tick: Called with a decoder's name before each of its turns.

    Returns:
        Records as those of :func:`~counterpoint.eval.bench.speed.measure_speed`, without memory and with ``concurrency``.
    """
    greedy, most = parse_decoder(["greedy"]), min(max_new_tokens, MOST_TOKENS)
    timed = [greedy, *(spec for spec in specs if str(spec) != str(greedy))]
    speeds: dict[str, list[float]] = {str(spec): [] for spec in timed}
    concurrency = served.endpoint.concurrency
    for _ in range(REPEATS + 1):
        for spec in timed:
            tick(spec.name)
            begin = time.perf_counter()
            found = gathered(lambda each, spec=spec: continue_served(served, spec, each, 0, most), passages, concurrency)  # type: ignore[misc]
            speeds[str(spec)].append(sum(each.tokens for each in found) / (time.perf_counter() - begin))
    base = speeds[str(greedy)][1:]
    return [
        {
            "decoder": spec.name,
            "label": str(spec),
            "tokens_per_second": statistics.median(own := speeds[str(spec)][1:]),
            "relative": statistics.median(each / other for each, other in zip(own, base, strict=True)) if all(base) else None,
            "repeats": own,
            "peak_memory_bytes": None,
            "relative_memory": None,
            "batch_size": len(passages),
            "new_tokens": most,
            "concurrency": concurrency,
        }
        for spec in specs
    ]
