"""``counterpoint bench run``: continue every prompt with every decoder, time the decoders, then score."""

from __future__ import annotations

import argparse

from counterpoint.eval.bench_options import add_run_options, resolve
from counterpoint.eval.errors import CommandError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare ``counterpoint bench run``."""
    parser = subparsers.add_parser(
        "run",
        help="generate and score; what `counterpoint bench` does by itself",
        description="Continue every prompt with every decoder, time the decoders and score the texts. Started again after a kill "
        "it goes on where it stopped.",
        allow_abbrev=False,
    )
    add_run_options(parser)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Generate what is not there yet, and score all of it."""
    options = resolve(arguments)
    raise CommandError(f"nothing is generated yet for {options.output_dir}")
