"""What a contrast costs: DoLa, SLED, contrastive and context-aware decoding and layer fusion against greedy search alone.

Usage: ``python contrast.py --expert PATH --amateur PATH --batch 1 8 --output-dir DIR``; the embedded models by default.

Every case times all methods in turn, round after round, in one process: milliseconds between two tokens (median over the tokens of
a round, then over rounds), without the prompt's own forward. A ratio is the median over rounds of a method's time over that of
what it has to run anyway: greedy search by the expert, and by the amateur too for methods that have one. "both in turn" is greedy
search by the expert with a plain forward of the amateur at every token, whose result nobody looks at: what two models cost that
share a processor's caches, with nothing of this library. Writes ``contrast.json`` and ``contrast.md``.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from timing import Case, Clock, Results, add_to_machines, described, environment_of, load, parsed, per_token, text
from torch import Tensor
from transformers import DynamicCache, LogitsProcessor, PreTrainedModel

from counterpoint.decoders import (
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    DoLaLogitsProcessor,
    LayerFusionLogitsProcessor,
    SLEDLogitsProcessor,
)
from counterpoint.decoders.hf.caches import CACHE
from counterpoint.eval import AMATEUR, EXPERT

BASES = {
    "DoLa, one layer": "expert",
    "DoLa, low": "expert",
    "DoLa, high": "expert",
    "SLED": "expert",
    "context-aware": "expert",
    "both in turn": "expert + amateur",
    "contrastive": "expert + amateur",
    "layer fusion": "expert + amateur",
}
"""What each method runs anyway."""


class InTurn(LogitsProcessor):
    """Lets another model read the text, and leaves the scores as they are."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores, after a forward of the tokens that are new."""
        if input_ids.shape[1] <= getattr(self, "length", input_ids.shape[1]):  # a new text
            self.cache, self.length = DynamicCache(config=self.model.config), 0
        self.model(input_ids[:, self.length :], use_cache=True, logits_to_keep=1, **{CACHE: self.cache})
        self.length = input_ids.shape[1]
        return scores


def processors(expert: PreTrainedModel, amateur: PreTrainedModel, ids: Tensor) -> dict[str, LogitsProcessor]:
    """The methods, made once and used again and again."""
    middle = expert.config.num_hidden_layers // 2
    return {
        "DoLa, one layer": DoLaLogitsProcessor(expert, layers=[middle]),
        "DoLa, low": DoLaLogitsProcessor(expert, layers="low"),
        "DoLa, high": DoLaLogitsProcessor(expert, layers="high"),
        "SLED": SLEDLogitsProcessor(expert),
        "context-aware": ContextAwareLogitsProcessor(expert, {"input_ids": ids[:, ids.shape[1] // 2 :]}),
        "both in turn": InTurn(amateur),
        "contrastive": ContrastiveDecodingLogitsProcessor(amateur),
        "layer fusion": LayerFusionLogitsProcessor(expert, amateur, layers=[middle]),
    }


def run(model: PreTrainedModel, ids: Tensor, used: Sequence[LogitsProcessor], new_tokens: int) -> float:
    """Milliseconds between tokens of one text."""
    clock = Clock()
    model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        logits_processor=list(used),
        streamer=clock,
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    if ids.device.type == "cuda":
        torch.cuda.synchronize()
    return per_token(clock.stamps[1:])


def measure(arguments: argparse.Namespace, report: Callable[[Case], None]) -> None:
    """All batch sizes, each reported as soon as it is measured."""
    expert, amateur = (load(name, arguments.dtype, arguments.device) for name in (arguments.expert, arguments.amateur))
    for batch in arguments.batch:
        ids = text(expert, batch, arguments.context)
        methods = {name: one for name, one in processors(expert, amateur, ids).items() if name in arguments.methods}
        runs: dict[str, tuple[PreTrainedModel, list[LogitsProcessor]]] = {"expert": (expert, []), "amateur": (amateur, [])}
        runs |= {name: (expert, [processor]) for name, processor in methods.items()}
        rounds: dict[str, list[float]] = {name: [] for name in runs}
        for model, used in runs.values():
            run(model, ids, used, 4)
        for _ in range(arguments.rounds):
            for name, (model, used) in runs.items():
                rounds[name].append(run(model, ids, used, arguments.new_tokens))
        rounds["expert + amateur"] = [sum(pair) for pair in zip(rounds["expert"], rounds["amateur"], strict=True)]
        ratios = {
            name: statistics.median(own / base for own, base in zip(rounds[name], rounds[BASES[name]], strict=True))
            for name in methods
        }
        report({"dtype": arguments.dtype, "batch": batch, "context": arguments.context, "ms_per_token": rounds, "ratios": ratios})


def table(cases: list[Case], environment: dict[str, Any]) -> str:
    """Markdown: medians and ratios, the machine beneath."""
    lines = ["| dtype | batch | context | method | ms/token | over | ratio |", "|---|---|---|---|---|---|---|"]
    for case in cases:
        for name, times in case["ms_per_token"].items():
            ratio = [BASES[name], f"{case['ratios'][name]:.2f}"] if name in case["ratios"] else ["", ""]
            cells = [case["dtype"], case["batch"], case["context"], name, f"{statistics.median(times):.2f}", *ratio]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, "", described(environment)]) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expert", default=str(EXPERT), help="path or id; default: the embedded one")
    parser.add_argument("--amateur", default=str(AMATEUR), help="path or id; default: the embedded one")
    parser.add_argument("--methods", nargs="+", default=list(BASES), choices=list(BASES), metavar="METHOD")
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parsed(parser)
    environment = environment_of(arguments.expert, arguments.device, arguments.new_tokens)
    results = Results(arguments.output_dir / "contrast.json", environment, ("dtype", "batch", "context"), table)

    def report(case: Case) -> None:
        results.add(case)
        if arguments.machines:
            shown = {name: case[name] for name in ("dtype", "batch", "context")}
            ratios = case["ratios"].items()
            add_to_machines(
                environment, [{**shown, "what": name, "over": BASES[name], "ratio": f"{ratio:.2f}"} for name, ratio in ratios]
            )

    measure(arguments, report)
    print(results.markdown())


if __name__ == "__main__":
    main()
