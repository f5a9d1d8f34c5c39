"""Accuracy of rankers at picking the true continuation, in the choices that ``counterpoint train-ranker`` left.

Usage: ``python evaluate.py RANKER --choices RANKER/held_out.jsonl``

Prints a table of the trained ranker, unigram overlap, and the embedded expert's likelihood per token and pointwise mutual
information: the share of prefixes after which the true continuation scores highest, with 95 % bootstrap intervals over prefixes,
and for each of them the difference to the trained ranker's, prefix by prefix.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from counterpoint.eval import EXPERT
from counterpoint.eval.metrics.resampling import bootstrap, interval
from counterpoint.rankers import LikelihoodRanker, OverlapRanker, Ranker
from counterpoint.rankers.training.continuation_choice import picked, read_choices
from counterpoint.rankers.training.trainable_encoders import load_ranker


def mean(outcomes: list[float]) -> str:
    """The mean in percent, with its interval."""
    values = torch.tensor([[[value, 1.0] for value in outcomes]], dtype=torch.float64)
    bounds = interval(bootstrap(values, lambda sums: sums[..., 0] / sums[..., 1]), 0.95)
    low, high = bounds if bounds is not None else (float("nan"), float("nan"))
    return f"{100 * sum(outcomes) / len(outcomes):.1f} ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ranker", type=Path, help="folder of a trained ranker")
    parser.add_argument("--choices", type=Path, required=True, help="its held_out.jsonl")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT, dtype=torch.float32), AutoTokenizer.from_pretrained(EXPERT)
    rankers: dict[str, Ranker] = {
        "this ranker": load_ranker(arguments.ranker),
        "unigram overlap": OverlapRanker(),
        "likelihood per token": LikelihoodRanker(model.eval(), tokenizer),
        "mutual information": LikelihoodRanker(model, tokenizer, form="pmi"),
    }
    chosen = read_choices(arguments.choices)
    wrong = len(chosen[0].in_book)
    print(f"{len(chosen)} prefixes, {wrong} wrong continuations of each kind\n")
    print("| picked from among | in-book | less this ranker's | generated | less this ranker's |\n|---|---|---|---|---|")
    print(f"| chance | {100 / (wrong + 1):.1f} | | {100 / (wrong + 1):.1f} | |", flush=True)
    own: dict[str, list[float]] = {}
    for name, ranker in rankers.items():
        cells = []
        for kind in ("in_book", "generated"):
            outcomes = picked(ranker, chosen, kind)
            reference = own.setdefault(kind, outcomes)
            cells += [mean(outcomes), mean([one - other for one, other in zip(outcomes, reference, strict=True)])]
        cells = [cells[0], "", cells[2], ""] if name == "this ranker" else cells
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
