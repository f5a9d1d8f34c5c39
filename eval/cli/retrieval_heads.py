"""``counterpoint retrieval-heads``: which attention heads of a model copy from the context."""

from __future__ import annotations

import argparse
import json
from statistics import mean

from counterpoint.eval.cli.errors import CommandError, written_as_options
from counterpoint.eval.cli.models import load_model
from counterpoint.eval.cli.options import add_shared, at_least, new_file, positive
from counterpoint.eval.journal import write_whole

SHOWN = 10
"""Heads that are printed."""


def least_context(text: str) -> int:
    """Parse a number of tokens that a needle has room in."""
    return at_least(64, text)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the options of ``counterpoint retrieval-heads``."""
    parser = subparsers.add_parser(
        "retrieval-heads",
        help="find the attention heads that copy from the context, for the decoder decore",
        description="Find the attention heads of a model that copy from the context, for --decoder decore heads=FILE. The file "
        'has an object {"LAYER-HEAD": [score, ...], ...}, best heads first: their scores in each trial that the model passed.',
        allow_abbrev=False,
    )
    add_shared(parser, "--model", "--device", "--dtype", "--trust-remote-code", "--seed")
    parser.add_argument(
        "--trials", metavar="N", type=positive, default=60, help="texts with a needle in them (default: %(default)s)"
    )
    parser.add_argument(
        "--context",
        metavar="TOKENS",
        type=least_context,
        default=512,
        help="length of the longest text, 64 or more (default: %(default)s)",
    )
    add_shared(parser, "--output", required=True, help="file to write, as JSON", type=new_file)
    add_shared(parser, "--json")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Find the heads, write the file, and print the best ones.

    Raises:
        CommandError: If the model passes no trial, or shows no attention.
    """
    from counterpoint.eval import loading  # imports torch
    from counterpoint.eval.bench.passages import read_pairs
    from counterpoint.eval.retrieval_heads import retrieval_heads, written_heads

    with loading.quiet():
        loaded = load_model(arguments)
        haystack = [text for _, text in read_pairs(None).rows if text]
        try:
            scores = retrieval_heads(
                loaded.model,
                loaded.tokenizer,
                haystack,
                trials=arguments.trials,
                context=arguments.context,
                seed=arguments.seed,
            )
        except ValueError as error:
            raise CommandError(written_as_options(str(error), ("context",))) from error
    written = written_heads(scores)
    write_whole(arguments.output, json.dumps(written) + "\n")
    means = {head: mean(values) for head, values in written.items()}
    passed = len(next(iter(written.values())))
    if arguments.json:
        print(json.dumps({"file": str(arguments.output), "passed": passed, "trials": arguments.trials, "heads": means}))
        return 0
    print(f"{passed} of {arguments.trials} trials passed; {len(means)} heads in {arguments.output}, best first:")
    for head, value in list(means.items())[:SHOWN]:
        print(f"{head:>8}  {value:.3f}")
    return 0
