"""Speculative contrastive decoding against the expert's greedy search and against plain contrastive decoding, in one process.

Usage: ``python speculative.py [--expert PATH] [--amateurs PATH | random | first:N ...] --forms ratio --output-dir DIR``

Without paths: the embedded pair. ``random`` is the embedded amateur's (or the given expert's) architecture with random weights, a
poor amateur; ``first:N`` the expert's first N layers. For every prompt the three methods run in turn; milliseconds a token with the
prompt's forward, medians over prompts and rounds, and the median of the ratios within a turn. Writes ``speculative.json`` (all runs
on one machine and version) and ``speculative.md``.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from copy import deepcopy
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, PreTrainedModel

from counterpoint.decoders import (
    ContrastiveDecodingLogitsProcessor,
    extrapolation,
    likelihood_ratio,
    speculative_contrastive_decoding,
)
from counterpoint.decoders.hf.caches import CACHE
from counterpoint.eval import AMATEUR, EXPERT

FORMS = {"ratio": likelihood_ratio, "extrapolation": partial(extrapolation, beta=0.5)}
PROMPTS = [
    "My fellow citizens, I have",
    "The old captain looked at the sea and",
    "She was very happy, and",
    "In the morning the whole family",
    "It is a truth universally acknowledged, that",
    "The Congress of the United States has",
    "When he came on deck, the captain",
    "There was no",
]


def load(name: str, expert: PreTrainedModel) -> PreTrainedModel:
    """The amateur by path, of random weights, or the expert's first layers."""
    torch.manual_seed(0)
    if name == "random":
        embedded = AutoModelForCausalLM.from_pretrained(AMATEUR).config
        config = embedded if embedded.vocab_size == expert.config.vocab_size else shallower(expert, 2)
        return AutoModelForCausalLM.from_config(config).to(expert.device, expert.dtype).eval()
    if name.startswith("first:"):
        layers = int(name.removeprefix("first:"))
        amateur = AutoModelForCausalLM.from_config(shallower(expert, layers)).to(expert.device, expert.dtype)
        amateur.load_state_dict(expert.state_dict(), strict=False)  # of which the later layers are left out
        return amateur.eval()
    return AutoModelForCausalLM.from_pretrained(name, dtype=expert.dtype).to(expert.device).eval()


def shallower(expert: PreTrainedModel, layers: int) -> Any:
    """The expert's configuration with fewer layers."""
    config = deepcopy(expert.config)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    return config


def run(expert: PreTrainedModel, ids: Tensor, new_tokens: int, **kwargs: Any) -> tuple[float, int]:
    """Milliseconds a token, and the expert's forwards."""
    forwards: list[int] = []
    handle = expert.register_forward_hook(lambda module, arguments, output: forwards.append(1))
    start = time.perf_counter()
    arguments: dict[str, Any] = {"max_new_tokens": new_tokens, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    found = expert.generate(ids, attention_mask=torch.ones_like(ids), **arguments, **kwargs)
    found.tolist()  # waits for an accelerator
    elapsed = time.perf_counter() - start
    handle.remove()
    return 1000 * elapsed / new_tokens, len(forwards)


@torch.no_grad()
def forward_milliseconds(model: PreTrainedModel, tokens: int, repeats: int = 30) -> float:
    """One forward of some tokens after 100 others."""
    ids = torch.randint(5, model.config.vocab_size, (1, 100 + tokens), device=model.device)
    cache = DynamicCache(config=model.config)
    model(ids[:, :100], use_cache=True, **{CACHE: cache})
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        model(ids[:, 100:], use_cache=True, **{CACHE: cache}).logits[0, -1, 0].item()
        times.append(time.perf_counter() - start)
        cache.crop(-tokens)
    return 1000 * statistics.median(times)


def measure(arguments: argparse.Namespace, expert: PreTrainedModel, tokenizer: Any, name: str, form: str) -> dict[str, Any]:
    """One case."""
    amateur = load(name, expert)
    settings = {"form": FORMS[form], "alpha": 0.1}
    methods: dict[str, dict[str, Any]] = {
        "greedy": {},
        "plain": {"logits_processor": [ContrastiveDecodingLogitsProcessor(amateur, **settings)]},
        "ours": {"custom_generate": speculative_contrastive_decoding, "amateur": amateur, **settings},
    }
    times: dict[str, list[float]] = {method: [] for method in methods}
    forwards = 0
    prompts = [tokenizer(prompt, return_tensors="pt").input_ids.to(expert.device) for prompt in PROMPTS[: arguments.limit]]
    for kwargs in methods.values():
        run(expert, prompts[0], 8, **kwargs)
    for _ in range(arguments.rounds):
        for ids in prompts:
            for method, kwargs in methods.items():
                elapsed, count = run(expert, ids, arguments.new_tokens, **kwargs)
                times[method].append(elapsed)
                forwards += count if method == "ours" else 0
    pairs = list(zip(times["greedy"], times["plain"], times["ours"], strict=True))
    return {
        "expert": Path(arguments.expert).name,
        "amateur": Path(name).name,
        "form": form,
        "new_tokens": arguments.new_tokens,
        "ms_per_token": {method: statistics.median(values) for method, values in times.items()},
        "greedy_over_ours": statistics.median(greedy / ours for greedy, _, ours in pairs),
        "plain_over_ours": statistics.median(plain / ours for _, plain, ours in pairs),
        "tokens_per_forward": len(pairs) * arguments.new_tokens / forwards,
        "forward_ms": {"expert": forward_milliseconds(expert, 1), "amateur": forward_milliseconds(amateur, 1)},
    }


def table(cases: list[dict[str, Any]], environment: dict[str, Any]) -> str:
    """Markdown, the machine beneath."""
    lines = [
        "| expert | amateur | form | new tokens | greedy ms/token | plain | ours | greedy / ours | plain / ours "
        "| tokens per forward | forward ms expert | amateur |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        cells = [case[name] for name in ("expert", "amateur", "form", "new_tokens")]
        cells += [f"{value:.2f}" for value in case["ms_per_token"].values()]
        cells += [f"{case[name]:.2f}" for name in ("greedy_over_ours", "plain_over_ours", "tokens_per_forward")]
        cells += [f"{value:.2f}" for value in case["forward_ms"].values()]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, "", "; ".join(f"{name} {value}" for name, value in environment.items())]) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expert", default=str(EXPERT))
    parser.add_argument("--amateurs", nargs="+", default=[str(AMATEUR), "random"])
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=list(FORMS))
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--limit", type=int, default=len(PROMPTS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output-dir", type=Path, default=Path())
    arguments = parser.parse_args()
    expert = AutoModelForCausalLM.from_pretrained(arguments.expert, dtype=arguments.dtype).to(arguments.device).eval()
    tokenizer = AutoTokenizer.from_pretrained(arguments.expert)
    environment = {
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else f"CPU ({torch.get_num_threads()} threads)",
        "dtype": arguments.dtype,
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "python": platform.python_version(),
    }
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    path = arguments.output_dir / "speculative.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"environment": environment, "cases": []}
    cases: list[dict[str, Any]] = before["cases"] if before["environment"] == environment else []
    key = ("expert", "amateur", "form", "new_tokens")
    for name in arguments.amateurs:
        for form in arguments.forms:
            case = measure(arguments, expert, tokenizer, name, form)
            cases = [other for other in cases if any(other[part] != case[part] for part in key)] + [case]
            path.write_text(json.dumps({"environment": environment, "cases": cases}, indent=2) + "\n", encoding="utf-8")
            path.with_suffix(".md").write_text(table(cases, environment), encoding="utf-8")
            print(table([case], environment), flush=True)


if __name__ == "__main__":
    main()
