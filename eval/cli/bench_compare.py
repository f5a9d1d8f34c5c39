"""``counterpoint bench compare``: a table over several runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from counterpoint.eval.errors import UsageError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare ``counterpoint bench compare``."""
    parser = subparsers.add_parser(
        "compare",
        help="one table of several runs",
        description="One table of the results of several runs. Figures that do not compare, such as MAUVE by different protocols, "
        "featurisers or numbers of texts, have a column each.",
        allow_abbrev=False,
    )
    parser.add_argument("directories", metavar="DIR", nargs="+", type=Path, help="where `counterpoint bench` wrote; two or more")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Print the table."""
    directories = [directory.resolve() for directory in arguments.directories]
    if len({*directories}) < 2:
        raise UsageError("compare takes two directories or more, each once")

    from counterpoint.eval.bench.compare import comparison, names_of  # these import torch
    from counterpoint.eval.bench.results import read_results

    distinct = dict.fromkeys(directories)
    names = names_of([directory.as_posix() for directory in distinct])
    print(comparison({name: read_results(directory) for name, directory in zip(names, distinct, strict=True)}), end="")
    return 0
