"""How often consensus against the mean of references, or with pruning, has the best of the plain form, and how fast each is.

Usage: ``python consensus.py --candidates 256 --prompts 20 --output FILE``. Candidates are nucleus samples (p = 0.9) of the embedded
expert after passages of its own, so that nothing is downloaded; all forms judge the same texts in one run. Writes a table of,
for each utility and form, the share of prompts with the same best text, the mean loss of utility of the best under the plain form,
and the seconds for a prompt. Where mbrs 0.1.8 is installed (``pip install --no-deps mbrs==0.1.8 fastchrf simple-parsing
docstring-parser``), its chrF, in Python and in Rust, judges the same texts in the same run.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import timing
from timing import described, environment_of, now
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from counterpoint.eval import EXPERT
from counterpoint.rankers import Bleu, ChrF, ConsensusRanker, NgramF1

BEGINNINGS = ("The old captain", "My dear sister", "It was a cold morning, and", "In the house by the sea", "The king said that")
UTILITIES = {"ngram": NgramF1, "chrf": ChrF, "bleu": Bleu}
FORMS: dict[str, dict[str, Any]] = {"plain": {}, "aggregated": {"aggregate": True}, "pruned 0.99": {"prune": 0.99}}


def spent() -> float:
    """Seconds on the clock, or those of this process and of its own that have ended: mbrs starts one for chrF in Python."""
    return sum(os.times()[:4]) if timing.PROCESSOR else now()


def samples(prompts: int, candidates: int, tokens: int) -> list[list[str]]:
    """The candidates of each prompt, without blank ones."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
    found = []
    for number in range(prompts):
        set_seed(number)
        inputs = tokenizer(BEGINNINGS[number % len(BEGINNINGS)], return_tensors="pt")
        ids = model.generate(**inputs, do_sample=True, top_p=0.9, top_k=0, num_return_sequences=candidates, max_new_tokens=tokens)
        texts = tokenizer.batch_decode(ids[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
        found.append([text for text in texts if text.strip()])
    return found


def peers() -> dict[str, Callable[[list[str]], int]]:
    """For each form of mbrs what gives the place of its best text; none if it is not installed.

    Its package imports metrics that need transformers before version 5; they are left out here, since chrF needs none of them.
    """
    if find_spec("mbrs") is None:
        return {}
    for name in ("bertscore", "bleurt", "comet", "cometkiwi", "metricx", "xcomet"):
        sys.modules[f"mbrs.metrics.{name}"] = MagicMock()
    decoders, metric = import_module("mbrs.decoders"), import_module("mbrs.metrics.chrf").MetricChrF

    def best(kind: Any, fast: bool, texts: list[str]) -> int:
        judge = kind(kind.Config(), metric(metric.Config(fastchrf=fast, num_workers=1)))
        return int(judge.decode(texts, texts, nbest=1).idx[0])

    return {
        "mbrs, pairwise": partial(best, decoders.DecoderMBR, False),
        "mbrs, aggregated": partial(best, decoders.DecoderAggregateMBR, False),
        "mbrs, pairwise in Rust": partial(best, decoders.DecoderMBR, True),
        "mbrs, aggregated in Rust": partial(best, decoders.DecoderAggregateMBR, True),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=256)
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--utilities", nargs="+", choices=UTILITIES, default=list(UTILITIES))
    parser.add_argument("--processor-time", action="store_true", help="for a machine that others use too; with one thread")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    timing.PROCESSOR = arguments.processor_time
    pools = samples(arguments.prompts, arguments.candidates, arguments.tokens)
    lines = ["| utility | form | same best | loss of utility | seconds a prompt |", "|---|---|---|---|---|"]
    print(f"{len(pools)} pools of {arguments.candidates} candidates", file=sys.stderr)

    def add(line: str) -> None:
        lines.append(line)
        print(line, file=sys.stderr)

    for utility in (UTILITIES[name]() for name in arguments.utilities):
        plain = []
        for name, options in FORMS.items():
            ranker = ConsensusRanker(utility=utility, **options)
            start = spent()
            found = [ranker.score(["?"], [texts])[0] for texts in pools]
            seconds = (spent() - start) / len(pools)
            plain = plain or found
            trios = [*zip(pools, found, plain, strict=True)]
            same = sum(texts[int(own.argmax())] == texts[int(other.argmax())] for texts, own, other in trios)
            loss = sum(float(other.max() - other[own.argmax()]) for _, own, other in trios) / len(pools)
            add(f"| {utility!r} | {name} | {same} of {len(pools)} | {loss:.4f} | {seconds:.3f} |")
        for name, best in peers().items() if isinstance(utility, ChrF) else ():
            start = spent()
            chosen = [best(texts) for texts in pools]
            seconds = (spent() - start) / len(pools)
            pairs = [*zip(pools, chosen, plain, strict=True)]
            same = sum(texts[own] == texts[int(other.argmax())] for texts, own, other in pairs)
            loss = sum(float(other.max() - other[own]) for _, own, other in pairs) / len(pools)
            add(f"| {utility!r} | {name} | {same} of {len(pools)} | {loss:.4f} | {seconds:.3f} |")
    text = "\n".join([*lines, "", described(environment_of(EXPERT.name, "cpu", arguments.tokens))]) + "\n"
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
