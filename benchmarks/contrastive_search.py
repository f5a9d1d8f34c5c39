"""Contrastive search against greedy search and against the usual batch-expanded loop, on one model and one machine.

Usage: ``python contrastive_search.py --model PATH --dtype float32 --contexts 128 1024 4096 --k 5 --output-dir DIR``

Every case times all three methods in turn, round after round, in one process: milliseconds between two tokens (median over the
tokens of a round, then over rounds), without the prompt's own forward. Peak memory is that of a fresh process that runs one
method once, from the first new token on, since the prompt's forward would hide it (resident set on Linux, allocated memory on
CUDA). On a CPU the limit is measured in the same run: what the fastest kernel of each layer needs for k rows over one, summed over
the layers, plus attention; ``--packed`` measures with packed weights, greedy search with them too, so that no packed search is
compared with an unpacked greedy one alone. Writes ``contrastive_search.json`` and ``contrastive_search.md``, and with
``--machines`` this machine's rows of ``machines.md``.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timing
import torch
from limits import limit, packed_everywhere
from timing import RANDOM, Clock, Results, add_to_machines, described, environment_of, load, per_token, text
from torch import Tensor
from transformers import PreTrainedModel, StoppingCriteria

from counterpoint.decoders import candidate_method, contrastive_search
from counterpoint.decoders.hf.caches import CACHE
from counterpoint.decoders.kernels.policy import Policy, pinned

ALPHA = 0.6
PACKED = Policy(packed=True)


def batch_expanded(
    model: PreTrainedModel,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    stamps: list[float],
    **kwargs: Any,
) -> Tensor:
    """The straightforward loop: k rows a candidate step, the cache repeated k times and one row of it selected again."""
    k, rows = generation_config.top_k, torch.arange(len(input_ids), device=input_ids.device)
    kwargs["logits_to_keep"] = 0
    output = model._prefill(input_ids, generation_config, kwargs | {"output_hidden_states": True})
    cache, context, logits = output[CACHE], output.hidden_states[-1], output.logits[:, -1]
    while True:
        probabilities, candidates = logits.float().softmax(-1).topk(k)
        cache.batch_repeat_interleave(k)
        output = model(candidates.reshape(-1, 1), output_hidden_states=True, **{CACHE: cache})
        hidden = output.hidden_states[-1][:, -1].unflatten(0, (len(rows), k))
        unit = torch.nn.functional.normalize
        similarity = (unit(hidden, dim=-1) @ unit(context, dim=-1).transpose(1, 2)).amax(-1)
        chosen = ((1 - ALPHA) * probabilities - ALPHA * similarity).argmax(-1)
        cache.batch_select_indices(rows * k + chosen)
        context = torch.cat([context, hidden[rows, chosen][:, None]], dim=1)
        logits = output.logits[:, -1].unflatten(0, (len(rows), k))[rows, chosen]
        input_ids = torch.cat([input_ids, candidates[rows, chosen][:, None]], dim=1)
        stamps.append(timing.now())
        if stopping_criteria(input_ids, None).all():
            return input_ids


class PeakFromFirstToken(StoppingCriteria):
    """Never stops; forgets the peak of memory that the prompt's forward left."""

    def __init__(self) -> None:
        self.tokens = 0

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Called after every token."""
        self.tokens += 1
        if self.tokens == 1 and input_ids.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        elif self.tokens == 1:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    def mib(self, device: str) -> float:
        """The peak since then."""
        if device.startswith("cuda"):
            return torch.cuda.max_memory_allocated() / 2**20
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def run(
    model: PreTrainedModel, method: str, ids: Tensor, k: int, new_tokens: int, criteria: tuple[StoppingCriteria, ...] = ()
) -> list[float]:
    """Times at which tokens came, after the prompt's."""
    clock = Clock()
    arguments: dict[str, Any] = {
        "attention_mask": torch.ones_like(ids),
        "max_new_tokens": new_tokens,
        "do_sample": False,
        "eos_token_id": None,
        "pad_token_id": 0,
        "stopping_criteria": list(criteria),
    }
    if method == "greedy":
        model.generate(ids, streamer=clock, **arguments)
    elif method == "greedy packed":
        with packed_everywhere(model):
            model.generate(ids, streamer=clock, **arguments)
    elif method == "ours packed":
        with pinned(PACKED) as packed, packed:
            model.generate(ids, streamer=clock, custom_generate=contrastive_search, penalty_alpha=ALPHA, top_k=k, **arguments)
    elif method == "ours":
        model.generate(ids, streamer=clock, custom_generate=contrastive_search, penalty_alpha=ALPHA, top_k=k, **arguments)
    else:
        stamps = clock.stamps
        stamps.append(timing.now())
        model.generate(ids, custom_generate=batch_expanded, stamps=stamps, penalty_alpha=ALPHA, top_k=k, **arguments)
    if ids.device.type == "cuda":
        torch.cuda.synchronize()
    return clock.stamps[1:]


def peak_memory(method: str, context: int, k: int, batch: int, arguments: argparse.Namespace) -> float:
    """Peak MiB of a fresh process that runs one method once."""
    command = [sys.executable, __file__, "--model", arguments.model, "--dtype", arguments.dtype, "--device", arguments.device]
    command += ["--contexts", str(context), "--k", str(k), "--batch", str(batch), "--new-tokens", "8", "--memory-of", method]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def memory_of(arguments: argparse.Namespace) -> float:
    """Peak MiB of this process while it generates."""
    model = load(arguments.model, arguments.dtype, arguments.device)
    ids = text(model, arguments.batch[0], arguments.contexts[0])
    peak = PeakFromFirstToken()
    run(model, arguments.memory_of, ids, arguments.k[0], arguments.new_tokens, (peak,))
    return peak.mib(arguments.device)


def measure(arguments: argparse.Namespace, report: Callable[[dict[str, Any]], None]) -> None:
    """All cases, each reported as soon as it is measured."""
    model = load(arguments.model, arguments.dtype, arguments.device)
    print("candidates:", *candidate_method(model), file=sys.stderr)
    methods = ["greedy", "ours", *(["greedy packed", "ours packed"] if arguments.packed else []), *arguments.beside]
    for batch in arguments.batch:
        for context in arguments.contexts:
            for k in arguments.k:
                ids = text(model, batch, context)
                for method in methods:
                    run(model, method, ids[:, : min(context, 128)], k, 4)
                rounds: dict[str, list[float]] = {method: [] for method in methods}
                for _ in range(arguments.rounds):
                    for method in methods:
                        rounds[method].append(per_token(run(model, method, ids, k, arguments.new_tokens)))
                case: dict[str, Any] = {
                    "dtype": arguments.dtype,
                    "batch": batch,
                    "context": context,
                    "k": k,
                    "ms_per_token": rounds,
                }
                case["ours_over_greedy"] = ratio(rounds, "ours", "greedy")
                if "batch-expanded" in methods:
                    case["batch_expanded_over_ours"] = ratio(rounds, "batch-expanded", "ours")
                if arguments.device == "cpu":
                    case["limit"] = limit(model, batch, context, k, may_pack=False)
                if arguments.packed:
                    case["packed_over_greedy_packed"] = ratio(rounds, "ours packed", "greedy packed")
                    case["packed_over_greedy"] = ratio(rounds, "ours packed", "greedy")
                    case["greedy_packed_over_greedy"] = ratio(rounds, "greedy packed", "greedy")
                    case["packed_limit"] = limit(model, batch, context, k, may_pack=True)
                if arguments.memory:
                    case["peak_mib"] = {method: peak_memory(method, context, k, batch, arguments) for method in methods}
                report(case)


def ratio(rounds: dict[str, list[float]], method: str, base: str) -> float:
    """The median over rounds."""
    return statistics.median(own / other for own, other in zip(rounds[method], rounds[base], strict=True))


def machine_rows(case: dict[str, Any]) -> list[dict[str, Any]]:
    """What the table of machines says of a case."""
    shown = {name: case[name] for name in ("dtype", "batch", "context")}
    search = f"contrastive search, k = {case['k']}"
    packed = {"greedy_packed_over_greedy": ("greedy, packed weights", "greedy", None)}
    packed["packed_over_greedy"] = f"{search}, packed weights", "greedy", None
    packed["packed_over_greedy_packed"] = f"{search}, packed weights", "greedy, packed weights", "packed_limit"
    kinds = {"ours_over_greedy": (search, "greedy", "limit"), **packed}
    kinds["batch_expanded_over_ours"] = f"the loop of k rows, k = {case['k']}", search, None
    return [
        {**shown, "what": what, "over": over, "ratio": f"{case[name]:.2f}", "limit": f"{case[bound]:.2f}" if bound in case else ""}
        for name, (what, over, bound) in kinds.items()
        if name in case
    ]


def table(cases: list[dict[str, Any]], environment: dict[str, Any]) -> str:
    """Markdown: medians and ratios, the machine beneath."""
    lines = [
        "| dtype | batch | context | k | greedy ms/token | ours | batch-expanded | ours / greedy | batch-expanded / ours "
        "| peak MiB greedy | ours | batch-expanded |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        timed = case["ms_per_token"]
        shown = ("greedy", "ours", "batch-expanded")
        times = [f"{statistics.median(timed[method]):.1f}" if method in timed else "" for method in shown]
        ratios = [f"{case[name]:.2f}" if name in case else "" for name in ("ours_over_greedy", "batch_expanded_over_ours")]
        peaks = [f"{value:.0f}" for value in case.get("peak_mib", {}).values()] or ["", "", ""]
        cells = [case["dtype"], case["batch"], case["context"], case["k"], *times, *ratios, *peaks]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, "", described(environment)]) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help=f"path or id, or {', '.join(RANDOM)}")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--contexts", type=int, nargs="+", default=[128, 1024, 4096])
    parser.add_argument("--k", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="processor threads; default: torch's")
    parser.add_argument("--packed", action="store_true", help="measure with packed weights as well (CPU)")
    parser.add_argument("--beside", nargs="*", default=["batch-expanded"], choices=["batch-expanded"], help="what else to time")
    parser.add_argument("--processor-time", action="store_true", help="for a machine that others use too; with one thread")
    parser.add_argument("--machines", action="store_true", help="write the rows of this machine into machines.md")
    parser.add_argument("--memory", action="store_true", help="measure peak memory as well, a process for each method")
    parser.add_argument("--memory-of", choices=["greedy", "ours", "batch-expanded"], help=argparse.SUPPRESS)
    parser.add_argument("--output-dir", type=Path, default=Path())
    arguments = parser.parse_args()
    timing.PROCESSOR = arguments.processor_time
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        print(memory_of(arguments))
        return

    environment = environment_of(arguments.model, arguments.device, arguments.new_tokens)
    results = Results(arguments.output_dir / "contrastive_search.json", environment, ("dtype", "batch", "context", "k"), table)

    def report(case: dict[str, Any]) -> None:
        results.add(case)
        if arguments.machines:
            add_to_machines(environment, machine_rows(case))

    measure(arguments, report)
    print(results.markdown())


if __name__ == "__main__":
    main()
