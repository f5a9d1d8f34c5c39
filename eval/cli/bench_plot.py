"""``counterpoint bench plot``: pictures of a run's results."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare ``counterpoint bench plot``."""
    parser = subparsers.add_parser(
        "plot",
        help="draw a run's results",
        description="Draw quality against diversity and speed, and MAUVE's divergence curves where there are some, as PNG and SVG.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="where `counterpoint bench` wrote")
    parser.add_argument("--output-dir", metavar="DIR", type=Path, help="where the pictures go; default: beside the results")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Draw, and print the files' names."""
    from counterpoint.eval.bench.results import read_results
    from counterpoint.eval.errors import CommandError
    from counterpoint.eval.report.plots import plot  # these import torch

    output: Path = arguments.output_dir or arguments.directory
    results = read_results(arguments.directory)
    try:
        output.mkdir(parents=True, exist_ok=True)
        paths = list(plot(results, output).values())
    except OSError as error:
        raise CommandError(f"--output-dir {output}: {error}") from error
    if not paths:
        raise CommandError(f"{arguments.directory}: nothing to draw; score coherence or mauve, and diversity or speed")
    for path in paths:
        print(path)
    return 0
