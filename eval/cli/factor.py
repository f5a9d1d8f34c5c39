"""``counterpoint factor``: how often a model under a decoder prefers the true completion."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.cli.choice import add_choice_options, add_compare, chosen_decoder, run_choice
from counterpoint.eval.cli.errors import CommandError, UsageError
from counterpoint.eval.questions.factor import CONTEXTS, read_completions

if TYPE_CHECKING:
    from counterpoint.eval.chat import ChatFormat
    from counterpoint.eval.loading import Loaded
    from counterpoint.eval.questions.choice_task import ChoiceTask


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the options of ``counterpoint factor``."""
    parser = subparsers.add_parser(
        "factor",
        help="score FACTOR's completions under a decoder",
        description="Accuracy on FACTOR (news, wiki or expert): how often no false completion is likelier than the true one, by "
        "the sum of the tokens' log-probabilities (accuracy) and by their mean (accuracy_per_token, the benchmark's own). "
        "Started again after a kill it goes on where it stopped.",
        allow_abbrev=False,
    )
    parser.add_argument("--file", metavar="FILE", type=Path, help="one of the benchmark's CSV files")
    parser.add_argument(
        "--context",
        choices=CONTEXTS,
        help="column that has the contexts (default: full_prefix for news, otherwise turncated_prefixes, as the files spell it)",
    )
    add_choice_options(parser, "factor", "none")
    add_compare(parser, ask)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark, or the command of it that was chosen."""
    code: int = arguments.questions(arguments)
    return code


def ask(arguments: argparse.Namespace) -> int:
    """Score the rows, and write ``results.json`` and a file with the results of each row."""
    chosen_decoder(arguments)  # its errors come first
    if arguments.file is None:
        raise UsageError("--file is missing: name one of the benchmark's CSV files")
    try:
        data = read_completions(arguments.file, arguments.context)
    except (ImportError, OSError, ValueError) as error:
        raise CommandError(f"--file {error}") from error

    def make(loaded: Loaded, spec: DecoderSpec, chats: ChatFormat) -> ChoiceTask:
        from counterpoint.eval.questions.factor_task import FactorTask  # imports torch

        return FactorTask(loaded, spec, arguments.renormalise, chats=chats)

    source = {"path": str(arguments.file), "sha256": data.sha256, "questions": len(data.completions), "context": data.column}
    return run_choice(arguments, data.completions, make, {"data": source})
