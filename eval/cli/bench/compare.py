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
        "featurisers or numbers of texts, stand in columns of their own.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "directories", metavar="DIR", nargs="+", type=Path, help="two or more folders that `counterpoint bench` wrote"
    )
    add_shared(parser, "--json")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Print the table, or the results by the names of their runs."""
    directories = [directory.resolve() for directory in arguments.directories]
    if len({*directories}) < 2:
        raise UsageError("compare takes two folders or more, each once")

    distinct = dict.fromkeys(directories)
    names = names_of([directory.as_posix() for directory in distinct])
    runs = {name: read_results(directory) for name, directory in zip(names, distinct, strict=True)}
    print(json.dumps(runs, ensure_ascii=False) if arguments.json else comparison(runs).removesuffix("\n"))
    return 0
