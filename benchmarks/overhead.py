"""What decoders cost where operations and not weights do: a step of each on the embedded pair, over greedy search's.

Usage: ``python overhead.py --batch 1 8 --threads 1 --output-dir results``. All methods write their texts in turn, token by token,
in one process (``turns.py``): the median milliseconds of a step, in which the prompt has no part, and the median over steps of the
ratio to the same step of greedy search by another copy of the model, which no decoder watches, with its 95 % interval. Contrastive
decoding and layer fusion are held against a step of the expert and one of the amateur. Every method alone takes turns with these
two, and finds the CPU's caches as they left them, as they do. The limit is what the products of more rows than one add to greedy
search's step by the fastest kernels, and nothing else. Writes ``overhead.json`` and ``overhead.md``.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from limits import more_rows
from timing import Case, Results, environment_of, load, parsed, text
from torch import Tensor
from transformers import LogitsProcessor
from transformers.generation.streamers import BaseStreamer
from turns import add_ratios_to_machines, measured, ratio, table

from counterpoint.decoders import (
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    DoLaLogitsProcessor,
    LayerFusionLogitsProcessor,
    SLEDLogitsProcessor,
    contrastive_search,
)
from counterpoint.eval import AMATEUR, EXPERT

BOTH = "greedy, expert and amateur"
BASES = {
    "contrastive_search:top_k=5": "greedy",
    "contrastive_decoding": BOTH,
    "dola:layers=[2]": "greedy",
    "dola:layers=low": "greedy",
    "sled": "greedy",
    "layer_fusion": BOTH,
    "context_aware": "greedy",
}
"""What each method is held against."""


MORE_ROWS = {"contrastive_search:top_k=5": (5, 0), "dola:layers=[2]": (1, 1)}
"""Candidates and early exits of those that pass more rows through the model's matrices, and do little else."""
METHODS: dict[str, Callable[[Any, Any, Tensor], dict[str, Any]]] = {
    "contrastive_search:top_k=5": lambda model, amateur, ids: {
        "custom_generate": contrastive_search,
        "penalty_alpha": 0.6,
        "top_k": 5,
    },
    "contrastive_decoding": lambda model, amateur, ids: used(ContrastiveDecodingLogitsProcessor(amateur)),
    "dola:layers=[2]": lambda model, amateur, ids: used(DoLaLogitsProcessor(model, layers=[2])),
    "dola:layers=low": lambda model, amateur, ids: used(DoLaLogitsProcessor(model, layers="low")),
    "sled": lambda model, amateur, ids: used(SLEDLogitsProcessor(model)),
    "layer_fusion": lambda model, amateur, ids: used(LayerFusionLogitsProcessor(model, amateur, layers=[2])),
    "context_aware": lambda model, amateur, ids: used(
        ContextAwareLogitsProcessor(model, {"input_ids": ids[:, ids.shape[1] // 2 :]})
    ),
}
"""What ``generate`` is given for each."""


def used(processor: LogitsProcessor) -> dict[str, Any]:
    """The argument that has it."""
    return {"logits_processor": [processor]}


def run(model: Any, ids: Tensor, arguments: dict[str, Any], new_tokens: int, streamer: BaseStreamer) -> None:
    """Write one text."""
    given = {"attention_mask": torch.ones_like(ids), "do_sample": False, "eos_token_id": None, "pad_token_id": 0, **arguments}
    model.generate(ids, streamer=streamer, max_new_tokens=new_tokens, **given)


def compared(name: str, model: Any, amateur: Any, ids: Tensor, options: argparse.Namespace) -> dict[str, list[float]]:
    """Milliseconds of each step of a method and of greedy search by both models."""
    subjects = {
        "greedy": (deepcopy(model), {}),
        "greedy, amateur": (deepcopy(amateur), {}),
        name: (model, METHODS[name](model, amateur, ids)),
    }
    calls = {each: partial(run, own, ids, given, options.new_tokens) for each, (own, given) in subjects.items()}
    times = measured(calls, options.rounds, options.new_tokens)
    times[BOTH] = [sum(pair) for pair in zip(times["greedy"], times["greedy, amateur"], strict=True)]
    return times


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parsed(parser)
    environment = environment_of("embedded pair", options.device, options.new_tokens)
    results = Results(options.output_dir / "overhead.json", environment, ("dtype", "batch", "context"), partial(table, BASES))
    model, amateur = (load(str(path), options.dtype, options.device) for path in (EXPERT, AMATEUR))
    for batch in options.batch:
        ids = text(model, batch, options.context)
        times, ratios = {}, {}
        for name, base in BASES.items():
            found = compared(name, model, amateur, ids, options)
            times |= {each: times.get(each, []) + own for each, own in found.items() if each != BOTH}
            ratios[name] = ratio(found[name], found[base])
        more = {name: more_rows(model, batch, options.context, *rows) for name, rows in MORE_ROWS.items()}
        limits = {name: f"{1 + each / statistics.median(times['greedy']):.2f}" for name, each in more.items()}
        case: Case = {"dtype": options.dtype, "batch": batch, "context": options.context, "ms_per_token": times}
        case |= {"ratios": ratios, "limits": limits}
        results.add(case)
        if options.machines:
            add_ratios_to_machines(environment, case, BASES)
    print(results.markdown())


if __name__ == "__main__":
    main()
