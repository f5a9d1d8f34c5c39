"""``counterpoint bench``: decoders against each other on the same prompts."""

from __future__ import annotations

import argparse

from counterpoint.eval.cli.bench import add as bench_add_command
from counterpoint.eval.cli.bench import compare as bench_compare_command
from counterpoint.eval.cli.bench import ls as bench_ls_command
from counterpoint.eval.cli.bench import plot as bench_plot_command
from counterpoint.eval.cli.bench import run as bench_run_command
from counterpoint.eval.cli.bench import score as bench_score_command
from counterpoint.eval.cli.bench.options import add_run_options

COMMANDS = (
    bench_run_command,
    bench_add_command,
    bench_score_command,
    bench_compare_command,
    bench_plot_command,
    bench_ls_command,
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare ``counterpoint bench`` and its own subcommands; without one it is ``run``, whose options it has."""
    parser = subparsers.add_parser(
        "bench",
        help="compare decoders: texts, metrics, speed",
        description="Continue the same prompts with several decoders and measure the texts. Alone it needs no network: the "
        "embedded model continues prompts that come with the package. Started again after a kill it goes on where it stopped.",
        allow_abbrev=False,
    )
    add_run_options(parser)
    parser.set_defaults(bench=bench_run_command.run)
    commands = parser.add_subparsers(title="commands of bench, each with --help", metavar="COMMAND")
    for command in COMMANDS:
        subparser = command.add_parser(commands)
        subparser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
        subparser.set_defaults(bench=command.run)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the command of bench that was chosen."""
    code: int = arguments.bench(arguments)
    return code
