"""The ``counterpoint`` command: one module a command, imported without torch until one of them runs."""

from __future__ import annotations

import argparse
import codecs
import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version

from counterpoint.decoders.kernels.policy import policy
from counterpoint.eval.cli import export as export_command
from counterpoint.eval.cli import factor as factor_command
from counterpoint.eval.cli import induce as induce_command
from counterpoint.eval.cli import kernels as kernels_command
from counterpoint.eval.cli import lm_eval as lm_eval_command
from counterpoint.eval.cli import rerank as rerank_command
from counterpoint.eval.cli import retrieval_heads as retrieval_heads_command
from counterpoint.eval.cli import score as score_command
from counterpoint.eval.cli import train_ranker as train_ranker_command
from counterpoint.eval.cli import truthfulqa as truthfulqa_command
from counterpoint.eval.cli.bench import command as bench_command
from counterpoint.eval.cli.errors import CommandError, UsageError, usage_errors, written_as_options
from counterpoint.eval.cli.parser import Parser
from counterpoint.eval.cli.texts import explain as explain_command
from counterpoint.eval.cli.texts import generate as generate_command
from counterpoint.eval.cli.texts import serve as serve_command

COMMANDS = (
    generate_command,
    explain_command,
    score_command,
    rerank_command,
    bench_command,
    truthfulqa_command,
    factor_command,
    lm_eval_command,
    export_command,
    induce_command,
    retrieval_heads_command,
    kernels_command,
    serve_command,
    train_ranker_command,
)
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
CLOSED_PIPE = 141  # 128 + SIGPIPE


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands; ``run`` in its result is the function of the command that was chosen."""
    parser = Parser(prog="counterpoint", description="Decoding methods that contrast, on the command line.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('counterpoint')}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        subparser = command.add_parser(subparsers)
        subparser.add_argument("--debug", action="store_true", help="show the traceback of an error")
        subparser.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        0 if all went well, 1 for a failure, 2 for wrong usage (both with one line on standard error), 130 after Ctrl-C,
        141 if standard output was closed.

    Raises:
        SystemExit: After ``--help`` and ``--version``, with code 0.

    Example:
        >>> from counterpoint.eval.cli.main import main
        >>> main(["generate", "It was", "--decoder", "nucleus", "p=0.9"])  # on standard error: nucleus has no p, it has top_p
        2
    """
    debug = False
    tolerant_streams()
    told, logger = Told(logging.WARNING), logging.getLogger("counterpoint")
    logger.addHandler(told)
    try:
        try:
            check_words(sys.argv[1:] if argv is None else argv)
            parser = build_parser()
            arguments, others = parser.parse_known_args(argv)
            arguments.others = others  # for a command that passes them on
            debug = arguments.debug
            with usage_errors():
                policy()  # of kernels, which an environment variable names
            check_device(vars(arguments).get("device"))
            code: int = arguments.run(arguments)
            return code
        finally:
            logger.removeHandler(told)
            sys.stdout.flush()  # here, so that a closed pipe is met inside this function
    except KeyboardInterrupt as error:
        if str(error):  # what is kept
            print(f"counterpoint: {error}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter's last flush complains
        return CLOSED_PIPE
    except Exception as error:
        if debug:
            traceback.print_exc()
        expected = isinstance(
            error, CommandError | ValueError | OSError | ImportError
        )  # the latter from the library, for what it got
        message = str(error) if expected else f"{type(error).__name__}: {error} (--debug shows where)"
        message = written_as_options(" ".join(message.split()), ("trust_remote_code",))
        print("counterpoint: error:", message, file=sys.stderr)
        return error.exit_code if isinstance(error, CommandError) else 1


def check_words(words: Sequence[str]) -> None:
    """Refuse a word of the command line that is no text.

    Raises:
        UsageError: If one is in another encoding than UTF-8.
    """
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"the argument {word!r} is not UTF-8 text: set the terminal to UTF-8, or give it by a file") from error


def check_device(device: str | None) -> None:
    """Refuse a ``--device`` that this machine lacks, before the command begins.

    Raises:
        UsageError: If it is none, or is not there.
    """
    if device not in (None, "cpu"):  # which every machine has, and torch takes a second to import
        from counterpoint.eval.loading import choose_device

        with usage_errors("device"):
            choose_device(device)


class Told(logging.Handler):
    """Prints the library's warnings like the command's own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one."""
        print(f"counterpoint: {record.levelname.lower()}: {record.getMessage()}", file=sys.stderr)


def tolerant_streams() -> None:
    r"""Standard output takes any text in any encoding, and standard input is UTF-8 whatever the locale says.

    A character that the encoding lacks is written as JSON escapes it, ``\u`` and four digits, so that ``--json`` stays JSON.
    Bytes that are no UTF-8 are met where the text is read, with the number of their line.
    """
    codecs.register_error("counterpoint", escaped)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="counterpoint")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")


def escaped(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that cannot be encoded, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2)), error.end
