"""``counterpoint lm-eval``: lm-evaluation-harness with the model ``counterpoint``, which is any model under any decoder."""

from __future__ import annotations

import argparse
import sys

from counterpoint.eval.errors import CommandError

DESCRIPTION = """Run lm-evaluation-harness, whose arguments are all passed on, with our decoders:

  counterpoint lm-eval --tasks NAME --model_args pretrained=ID_OR_PATH,decoder=NAME,key=value

The model is counterpoint unless --model or --config names another."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare ``counterpoint lm-eval``, whose options are the harness's own."""
    parser = subparsers.add_parser(
        "lm-eval",
        help="run a task of lm-evaluation-harness with a decoder",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.set_defaults(others=[])
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the harness.

    Raises:
        CommandError: If it is not installed, or refuses what it is asked.
        SystemExit: For arguments that it does not know, with code 2.
    """
    try:
        from lm_eval._cli import HarnessCLI
        from lm_eval.utils import setup_logging

        from counterpoint.eval.questions.lm_eval_model import MODEL  # registers it
    except ImportError as error:
        raise CommandError(f"{error}: pip install counterpoint[lm-eval]") from error
    setup_logging()
    own = sys.argv
    sys.argv = [f"{own[0]} lm-eval", *arguments.others]
    try:
        harness = HarnessCLI()
        parsed = harness.parse_args()  # reads sys.argv
    finally:
        sys.argv = own
    if parsed.command == "run" and parsed.model is None and parsed.config is None:
        parsed.model = MODEL
    harness.execute(parsed)
    return 0
