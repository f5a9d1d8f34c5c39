"""``counterpoint bench plot``: pictures of a run's results."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from counterpoint.eval.bench.records import read_results
from counterpoint.eval.cli.errors import CommandError
from counterpoint.eval.cli.options import add_shared
from counterpoint.eval.directories import written_alone
from counterpoint.eval.report.plots import plot


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare ``counterpoint bench plot``."""
    parser = subparsers.add_parser(
        "plot",
        help="draw a run's results",
        description="Draw quality against diversity and speed, and MAUVE's divergence curves where there are some, as PNG and SVG.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="folder that `counterpoint bench` wrote")
    add_shared(parser, "--output-dir", help="folder for the pictures (default: DIR, beside the results)")
    add_shared(parser, "--json")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Draw the pictures and print the names of their files."""
    output: Path = arguments.output_dir or arguments.directory
    results = read_results(arguments.directory)
    try:
        with written_alone(output):
            paths = list(plot(results, output).values())
    except OSError as error:
        raise CommandError(f"--output-dir {output}: {error}") from error
    if not paths:
        raise CommandError(f"{arguments.directory}: nothing to draw; score coherence or mauve, and diversity or speed")
    files = [str(path) for path in paths]
    print(json.dumps({"files": files}) if arguments.json else "\n".join(files))
    return 0
