"""``counterpoint bench compare``: a table over several runs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from counterpoint.eval.bench.compare import comparison, names_of
from counterpoint.eval.bench.records import read_results
from counterpoint.eval.cli.errors import UsageError
from counterpoint.eval.cli.options import add_shared


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare ``counterpoint bench compare``."""
    parser = subparsers.add_parser(
        "compare",
        help="one table of several runs",
        description="One table of the results of several runs. Figures that do not compare, such as MAUVE by different protocols, "
        "featurisers or numbers of texts, stand in columns of their own. Texts of the same prompt are paired: each decoder of a "
        "later run less the first run's of the same choice, or else less its first, with intervals.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "directories", metavar="DIR", nargs="+", type=Path, help="two or more folders that `counterpoint bench` wrote"
    )
    add_shared(parser, "--json")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Print the table and the differences, or as JSON the results by the names of their runs, and the differences."""
    directories = [directory.resolve() for directory in arguments.directories]
    if len({*directories}) < 2:
        raise UsageError("compare takes two folders or more, each once")

    from counterpoint.eval.bench.pairing import differences_of, written_differences
    from counterpoint.eval.bench.per_text import read_per_text  # these import torch

    distinct = dict.fromkeys(directories)
    names = names_of([directory.as_posix() for directory in distinct])
    runs = {name: read_results(directory) for name, directory in zip(names, distinct, strict=True)}
    per_text = {name: read_per_text(directory, runs[name]) for name, directory in zip(names, distinct, strict=True)}
    found = differences_of(runs, per_text)
    if arguments.json:
        print(json.dumps({"runs": runs, "differences": found}, ensure_ascii=False))
    else:
        print(f"{comparison(runs)}\n{written_differences(runs, found)}".removesuffix("\n"))
    return 0
