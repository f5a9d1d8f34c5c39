"""A linear layer of a few rows: ``torch.nn.functional.linear`` against the library's order of factors.

Usage: ``python skinny_linear.py``; prints microseconds (median) for one row, and for each number of rows both ways. More weights
than caches hold take turns, as the layers of a model do.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from counterpoint.decoders.kernels.skinny_linear import skinny_forward

SHAPES = [(576, 576), (576, 1536), (1536, 576)]  # those of SmolLM2-135M


def median_microseconds(call: Callable[[], object], repeats: int = 200) -> float:
    """Of one call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times[repeats // 10 :])


@torch.no_grad()
def main() -> None:
    """Print the table."""
    print(f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}\n")
    print("| dtype | width, out | rows | linear | W x^T | linear of one row |\n|---|---|---|---|---|---|")
    for dtype in (torch.float32, torch.bfloat16):
        for width, out in SHAPES:
            layers = [nn.Linear(width, out, bias=False, dtype=dtype) for _ in range(60)]
            turn = iter(range(10**9))
            one = torch.randn(1, 1, width, dtype=dtype)
            alone = median_microseconds(lambda: layers[next(turn) % 60](one))  # noqa: B023 - called in its own round
            for rows in (4, 5, 8, 16, 40):
                x = torch.randn(1, rows, width, dtype=dtype)
                usual = median_microseconds(lambda: layers[next(turn) % 60](x))  # noqa: B023
                ours = median_microseconds(lambda: skinny_forward(layers[next(turn) % 60], x))  # noqa: B023
                print(f"| {str(dtype)[6:]} | {width}, {out} | {rows} | {usual:.0f} | {ours:.0f} | {alone:.0f} |")


if __name__ == "__main__":
    main()
