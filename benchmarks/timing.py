"""What the benchmarks share: models, texts, a clock of tokens, and a result file that grows case by case."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers.generation.streamers import BaseStreamer

from counterpoint.decoders.kernels.machine import CPUINFO, cpu_name

RANDOM = {  # shapes of well-known models, for machines that cannot download one
    "random-1.5b": dict(
        hidden_size=1536, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2, intermediate_size=8960
    ),
    "random-7b": dict(
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, intermediate_size=14336
    ),
}
Case = dict[str, Any]


def now() -> float:
    """Seconds on the clock, or, if ``PROCESSOR`` is set, those that this process has had of its processor.

    The latter is what a token costs on a machine that others use too, as long as there is one thread.
    """
    return time.process_time() if PROCESSOR else time.perf_counter()


PROCESSOR = False


class Clock(BaseStreamer):
    """Notes when tokens come; fit for batches."""

    def __init__(self) -> None:
        self.stamps: list[float] = []

    def put(self, value: Tensor) -> None:
        """The first call brings the prompt."""
        self.stamps.append(now())

    def end(self) -> None:
        """Nothing to do."""


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line with what scripts that write rows of machines share, whose clock and threads are set by it."""
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="processor threads; default: torch's")
    parser.add_argument("--processor-time", action="store_true", help="for a machine that others use too; with one thread")
    parser.add_argument("--machines", action="store_true", help="write the rows of this machine into machines.md")
    parser.add_argument("--output-dir", type=Path, default=Path())
    options = parser.parse_args()
    global PROCESSOR
    PROCESSOR = options.processor_time
    if options.threads:
        torch.set_num_threads(options.threads)
    return options


def load(name: str, dtype: str, device: str) -> PreTrainedModel:
    """A model by path or id, or of random weights by the name of a shape."""
    torch.manual_seed(0)
    if name in RANDOM:
        config = LlamaConfig(vocab_size=32000, max_position_embeddings=8192, **RANDOM[name])
        with torch.device(device):
            return LlamaForCausalLM._from_config(config, dtype=getattr(torch, dtype)).eval()
    return AutoModelForCausalLM.from_pretrained(name, dtype=getattr(torch, dtype)).to(device).eval()


def text(model: PreTrainedModel, batch: int, context: int) -> Tensor:
    """Random ids: what is timed does not depend on them."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(10, model.config.vocab_size, (batch, context), generator=generator).to(model.device)


def per_token(stamps: list[float]) -> float:
    """Median milliseconds between tokens, the first two left out."""
    return 1000 * statistics.median(after - before for before, after in pairwise(stamps[1:]))


FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "asimd", "bf16", "sve")
MACHINES = Path(__file__).parent / "machines.md"
COLUMNS = ("machine", "model", "dtype", "batch", "context", "what", "over", "ratio", "limit", "torch, transformers")


def machine(device: str) -> str:
    """The accelerator, or the processor with the instructions that products are made of, and how many threads are used."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    lines = CPUINFO.read_text(encoding="utf-8").splitlines() if CPUINFO.exists() else []
    known = next((line.split() for line in lines if line.startswith(("flags", "Features"))), [])
    flags = ", ".join(flag for flag in FLAGS if flag in known)
    return f"{cpu_name()} ({flags}), {torch.get_num_threads()} threads{', processor time beside other work' if PROCESSOR else ''}"


def add_to_machines(environment: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Put rows into the table of all machines; those of the same case on the same machine are replaced, all others stay."""
    lines = MACHINES.read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|---")) + 1
    last = next((number for number in range(first, len(lines)) if not lines[number].startswith("|")), len(lines))
    table = {tuple(line.split(" | ")[:7]): line for line in lines[first:last]}
    versions = f"{environment['torch']}, {environment['transformers']}"
    for row in rows:
        known = {"machine": environment["device"], "model": environment["model"], "torch, transformers": versions, **row}
        line = "| " + " | ".join(str(known.get(column, "")) for column in COLUMNS) + " |"
        table[tuple(line.split(" | ")[:7])] = line
    lines[first:last] = sorted(table.values())
    MACHINES.write_text("\n".join(lines) + "\n", encoding="utf-8")


def environment_of(model: str, device: str, new_tokens: int) -> dict[str, Any]:
    """What figures are to be compared within."""
    return {
        "model": Path(model).name,
        "device": machine(device),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "python": platform.python_version(),
        "new tokens": new_tokens,
    }


class Results:
    """Cases in a JSON file and, as ``table`` lays them out, in a Markdown file beside it, both written as soon as one is there.

    Cases of other runs on the same machine and versions stay; ``key`` names what tells cases apart and orders them.
    """

    def __init__(
        self,
        path: Path,
        environment: dict[str, Any],
        key: Sequence[str],
        table: Callable[[list[Case], dict[str, Any]], str],
    ) -> None:
        self.path, self.environment, self.key, self.table = path, environment, key, table
        self.cases: list[Case] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            self.cases = before["cases"] if before["environment"] == environment else []

    def add(self, case: Case) -> None:
        """Report a case, which takes the place of an earlier one like it."""
        others = [other for other in self.cases if any(other[name] != case[name] for name in self.key)]
        self.cases = sorted([*others, case], key=lambda case: tuple(case[name] for name in self.key))
        content = {"environment": self.environment, "cases": self.cases}
        self.path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        self.path.with_suffix(".md").write_text(self.table(self.cases, self.environment), encoding="utf-8")
        print(self.table([case], {}), file=sys.stderr)

    def markdown(self) -> str:
        """All of it."""
        return self.path.with_suffix(".md").read_text(encoding="utf-8")


def described(environment: dict[str, Any]) -> str:
    """The environment in a line below a table."""
    return "; ".join(f"{name} {value}" for name, value in environment.items())
