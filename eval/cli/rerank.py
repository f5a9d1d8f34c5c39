"""``counterpoint rerank``: put candidates in order by a ranker."""

from __future__ import annotations

import argparse
import json
import math
from functools import cache

from counterpoint.eval import EXPERT
from counterpoint.eval.cli.candidate_lists import read_candidates
from counterpoint.eval.cli.options import positive
from counterpoint.eval.errors import CommandError
from counterpoint.eval.ranker_specs import describe_rankers, parse_rankers

TOGETHER = 16
"""Lines that are judged at once."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the options of ``counterpoint rerank``."""
    parser = subparsers.add_parser(
        "rerank",
        help="put candidates in order by a ranker",
        description='Put candidates in order by a ranker. Every line of the input is a JSON object with a text under "prompt" or\n'
        '"prefix" and a list of its continuations under "candidates", with the spaces that they begin with. The same\n'
        'objects are printed, candidates best first, with their "scores" (null is minus infinity), their places before in\n'
        '"order", and the "ranker".',
        epilog=f"rankers and their defaults:\n{describe_rankers()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--file", metavar="FILE", help="JSON Lines (default: standard input, as is -)")
    parser.add_argument(
        "--ranker",
        nargs="+",
        metavar=("NAME", "key=value"),
        required=True,
        help="the ranker and its parameters, NAME key=value ... or NAME:key=value,...; several are combined",
    )
    parser.add_argument("--top", metavar="N", type=positive, help="print only the N best")
    parser.add_argument(
        "--model", metavar="ID_OR_PATH", default=str(EXPERT), help="of ranker likelihood (default: the embedded expert)"
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps; default: an accelerator if there is one")
    parser.add_argument(
        "--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto", help="of --model (default: %(default)s)"
    )
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with --model")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Print every line with its candidates in order."""
    choices = parse_rankers(arguments.ranker)
    lists = read_candidates(arguments.file)

    from counterpoint.eval import (
        loading,  # after the arguments, since these import torch
        ranker_loading,
    )
    from counterpoint.eval.cli import printing
    from counterpoint.rankers import rerank

    @cache
    def model() -> loading.Loaded:
        return loading.load(arguments.model, arguments.device, arguments.dtype, arguments.trust_remote_code)

    with loading.quiet():
        ranker = ranker_loading.load_ranker(choices, model, arguments.device)
        name = " ".join(map(str, choices))
        for start in range(0, len(lists), TOGETHER):
            batch = lists[start : start + TOGETHER]
            try:
                found = rerank(ranker, [each.prefix for each in batch], [each.candidates for each in batch])
            except ValueError as error:
                raise CommandError(f"ranker {name}: {error}") from error
            for each, ranked in zip(batch, found, strict=True):
                scores = [score if math.isfinite(score) else None for score in ranked.scores]  # JSON has no infinity
                best = {"candidates": ranked.texts, "scores": scores, "order": ranked.order}
                kept = {key: value[: arguments.top] for key, value in best.items()}
                printing.write(json.dumps({**each.record, **kept, "ranker": name}, ensure_ascii=False) + "\n")
    return 0
