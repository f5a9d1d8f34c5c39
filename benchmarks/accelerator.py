"""Every method on an accelerator, with models of random weights made there: time, memory and waits beside greedy search.

Usage: ``python accelerator.py --output-dir DIR`` on the machine that has one; ``--toy`` proves the script on any CPU in a minute.

Shapes are those of Llama (1.5 and 8 billion weights) and of a Qwen3 mixture of experts, in bfloat16; the amateur has the shape of
half a billion, with the expert's vocabulary. For each shape, context, batch and k all methods run in turn, round after round, in
one process: milliseconds a token (those of ``--new-tokens`` less those of one token, so without the prompt's forward; the median
over rounds), memory allocated at most, and how often a token waits for the device. "static" are greedy and contrastive search with
a static cache, which ``generate`` compiles on an accelerator; the loop of k rows is contrastive search as it is usually written.

Waits are counted twice: what reads a number from a tensor, on any device, and on CUDA what torch's ``set_sync_debug_mode`` warns
of. What does not fit into memory is a case too. Writes ``accelerator.json`` and ``accelerator.md`` after every case, and goes on
where it was stopped.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from contrastive_search import ALPHA, batch_expanded
from timing import Case, Results, described, environment_of, text
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, Qwen3MoeConfig

from counterpoint.decoders import (
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    DoLaLogitsProcessor,
    SLEDLogitsProcessor,
    contrastive_search,
    speculative_contrastive_decoding,
)

LLAMA = {"vocab_size": 128256, "num_key_value_heads": 8, "max_position_embeddings": 65536, "tie_word_embeddings": False}
SHAPES: dict[str, Callable[[], Any]] = {
    "llama-1.5b": lambda: LlamaConfig(
        **LLAMA | {"tie_word_embeddings": True},
        hidden_size=2048, intermediate_size=8192, num_hidden_layers=20, num_attention_heads=32,
    ),
    "llama-8b": lambda: LlamaConfig(
        **LLAMA, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32
    ),
    "qwen3-moe-30b": lambda: Qwen3MoeConfig(
        vocab_size=151936, hidden_size=2048, intermediate_size=6144, moe_intermediate_size=768, num_hidden_layers=48,
        num_attention_heads=32, num_key_value_heads=4, head_dim=128, num_experts=128, num_experts_per_tok=8,
        max_position_embeddings=65536,
    ),
}  # fmt: skip
TOY: dict[str, Callable[[], Any]] = {
    "llama-toy": lambda: LlamaConfig(
        vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2
    ),
    "qwen3-moe-toy": lambda: Qwen3MoeConfig(
        vocab_size=512, hidden_size=64, intermediate_size=128, moe_intermediate_size=32, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, num_experts=4, num_experts_per_tok=2,
    ),
}  # fmt: skip
KEY = ("shape", "context", "batch", "k", "method")


def made(config: Any, device: str, dtype: torch.dtype) -> PreTrainedModel:
    """A model of random weights, made where it will run."""
    torch.manual_seed(0)
    with torch.device(device):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model.eval().requires_grad_(False)


def amateur_of(config: Any, toy: bool) -> Any:
    """The shape of the amateur of an expert: half a billion weights besides the embeddings, as Llama."""
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2} if toy else {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24
    }  # fmt: skip
    heads = {"num_attention_heads": 4 if toy else 16, "num_key_value_heads": 2 if toy else 8}
    positions = config.max_position_embeddings
    return LlamaConfig(vocab_size=config.vocab_size, max_position_embeddings=positions, tie_word_embeddings=True, **size, **heads)


def methods(model: PreTrainedModel, amateur: PreTrainedModel, ids: Tensor, k: int) -> dict[str, Callable[[], dict[str, Any]]]:
    """The arguments of ``generate`` for each method, made anew for each call."""
    search = {"custom_generate": contrastive_search, "penalty_alpha": ALPHA, "top_k": k}
    without = ids[:, ids.shape[1] // 2 :]

    def processed(make: Callable[[], Any]) -> dict[str, Any]:
        return {"logits_processor": [make()]}

    found: dict[str, Callable[[], dict[str, Any]]] = {
        "greedy": dict,
        "search": lambda: search,
        "loop of k rows": lambda: {"custom_generate": batch_expanded, "stamps": [], "penalty_alpha": ALPHA, "top_k": k},
        "static greedy": lambda: {"cache_implementation": "static"},
        "static search": lambda: search | {"cache_implementation": "static"},
        "CD": partial(processed, lambda: ContrastiveDecodingLogitsProcessor(amateur)),
        "DoLa, low": partial(processed, lambda: DoLaLogitsProcessor(model, layers="low")),
        "CAD": partial(processed, lambda: ContextAwareLogitsProcessor(model, {"input_ids": without})),
        "SLED": partial(processed, lambda: SLEDLogitsProcessor(model)),
    }
    if len(ids) == 1:
        found["speculative CD"] = lambda: {"custom_generate": speculative_contrastive_decoding, "amateur": amateur}
    return found


def generate(model: PreTrainedModel, ids: Tensor, new_tokens: int, arguments: dict[str, Any]) -> float:
    """Seconds that ``generate`` takes."""
    settings = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0, "max_new_tokens": new_tokens}
    wait(ids.device)
    began = time.perf_counter()
    model.generate(ids, attention_mask=torch.ones_like(ids), **settings, **arguments)
    wait(ids.device)
    return time.perf_counter() - began


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


class Reads(TorchDispatchMode):
    """Counts what reads a number from a tensor, for which a device has to have done its work."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation."""
        self.count += func.overloadpacket.__name__ in self.WAITING
        return func(*args, **(kwargs or {}))


class Lists(TorchFunctionMode):
    """Counts tensors that become lists, which waits for a device and is no operation of its own on a CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function."""
        self.count += func is torch.Tensor.tolist
        return func(*args, **(kwargs or {}))


def reads(model: PreTrainedModel, ids: Tensor, arguments: Callable[[], dict[str, Any]]) -> float:
    """Reads of numbers a token: the difference of ten and of two."""
    counts = []
    for new_tokens in (2, 10):
        with Reads() as found, Lists() as lists:
            generate(model, ids, new_tokens, arguments() | {"disable_compile": True})
        counts.append(found.count + lists.count)
    return (counts[1] - counts[0]) / 8


def synchronisations(model: PreTrainedModel, ids: Tensor, arguments: Callable[[], dict[str, Any]]) -> float | None:
    """Waits a token that torch warns of; None without CUDA."""
    if ids.device.type != "cuda":
        return None
    counts = []
    for new_tokens in (2, 10):
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                generate(model, ids, new_tokens, arguments())
        finally:
            torch.cuda.set_sync_debug_mode("default")
        counts.append(sum("synchronizing" in str(each.message) for each in told))
    return (counts[1] - counts[0]) / 8


def peak(model: PreTrainedModel, ids: Tensor, arguments: dict[str, Any]) -> float | None:
    """MiB allocated at most while four tokens are written; None where the device does not tell."""
    if ids.device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats()
    generate(model, ids, 4, arguments)
    return torch.cuda.max_memory_allocated() / 2**20


def measure(shape: str, model: PreTrainedModel, amateur: PreTrainedModel, settings: dict[str, int], options: Any) -> list[Case]:
    """All methods at one context, batch and k."""
    ids = text(model, settings["batch"], settings["context"])
    cases: dict[str, Case] = {}
    ways = methods(model, amateur, ids, settings["k"])
    for method, arguments in ways.items():
        case: Case = {"shape": shape, **settings, "method": method}
        try:
            generate(model, ids, 3, arguments())  # compiles, and fails where it does not fit
            case |= {"reads": reads(model, ids, arguments), "syncs": synchronisations(model, ids, arguments)}
            cases[method] = case | {"mib": peak(model, ids, arguments()), "failed": None}
        except torch.OutOfMemoryError:
            cases[method] = case | {"failed": "out of memory"}
        except ValueError as error:
            cases[method] = case | {"failed": str(error)}
    times: dict[str, list[float]] = {method: [] for method, case in cases.items() if case["failed"] is None}
    for _ in range(options.rounds):
        for method, own in times.items():
            short, long = (generate(model, ids, tokens, ways[method]()) for tokens in (1, options.new_tokens))
            own.append(1000 * (long - short) / (options.new_tokens - 1))
    base = cases["greedy"]
    for method, own in times.items():
        case = cases[method]
        case["ms"] = statistics.median(own)
        case["over_greedy"] = statistics.median(one / other for one, other in zip(own, times["greedy"], strict=True))
        case["memory_over_greedy"] = case["mib"] / base["mib"] if case["mib"] and base.get("mib") else None
    return list(cases.values())


def table(cases: list[Case], environment: dict[str, Any]) -> str:
    """Markdown, the machine beneath."""
    names = {
        "ms": "ms/token", "over_greedy": "over greedy", "memory_over_greedy": "memory over greedy", "reads": "reads a token",
        "syncs": "synchronisations a token",
    }  # fmt: skip
    lines = ["| " + " | ".join([*KEY, *names.values()]) + " |", "|" + "---|" * (len(KEY) + len(names))]
    for case in cases:
        values = [case.get(name) for name in names]
        cells = [case["failed"], *[""] * 4] if case["failed"] else ["" if each is None else f"{each:.2f}" for each in values]
        lines.append("| " + " | ".join([*(str(case[name]) for name in KEY), *cells]) + " |")
    return "\n".join([*lines, "", described(environment)]) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="tiny models and texts, to prove the script on any machine")
    parser.add_argument("--shapes", nargs="+", choices=[*SHAPES, *TOY])
    parser.add_argument("--contexts", nargs="+", type=int)
    parser.add_argument("--k", nargs="+", type=int)
    parser.add_argument("--batch", nargs="+", type=int)
    parser.add_argument("--new-tokens", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output-dir", type=Path, default=Path())
    options = parser.parse_args()
    toy = options.toy
    small, full = ([16, 24], [2], [1, 2], 12, 1), ([128, 1024, 8192, 32768], [4, 8, 16], [1, 8, 32], 64, 3)
    for name, value in zip(("contexts", "k", "batch", "new_tokens", "rounds"), small if toy else full, strict=True):
        setattr(options, name, getattr(options, name) or value)
    environment = environment_of("toy" if toy else "random", options.device, options.new_tokens)
    results = Results(options.output_dir / "accelerator.json", environment, KEY, table)
    done = {tuple(case[name] for name in KEY[:-1]) for case in results.cases}
    for shape in options.shapes or (TOY if toy else SHAPES):
        config = (TOY if toy else SHAPES)[shape]()
        dtype = torch.float32 if options.device == "cpu" else torch.bfloat16
        model, amateur = made(config, options.device, dtype), made(amateur_of(config, toy), options.device, dtype)
        for context, batch, k in itertools.product(options.contexts, options.batch, options.k):
            if (shape, context, batch, k) not in done:
                for case in measure(shape, model, amateur, {"context": context, "batch": batch, "k": k}, options):
                    results.add(case)
        del model, amateur


if __name__ == "__main__":
    main()
