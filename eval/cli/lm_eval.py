"""``counterpoint lm-eval``: lm-evaluation-harness with the model ``counterpoint``, which is any model under any decoder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from counterpoint.decoders.choosing.grammar import split_at, split_pair, unquoted
from counterpoint.decoders.choosing.rows import literal
from counterpoint.eval.choosing import parse_decoder
from counterpoint.eval.cli.errors import CommandError, UsageError, usage_errors
from counterpoint.eval.cli.parser import did_you_mean
from counterpoint.eval.inputs import yaml_mapping

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
        CommandError: If it is not installed.
        UsageError: If the harness or the model refuses what is asked of it.
        SystemExit: For arguments that it does not know, with code 2.
    """
    try:
        from lm_eval._cli import HarnessCLI
        from lm_eval.utils import setup_logging, simple_parse_args_string

        from counterpoint.eval.questions.lm_eval_model import MODEL, DecoderLM, words_of  # registers it
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
    if parsed.command == "run" and (given := model_args(arguments.others)):
        parsed.model_args = given
    file = getattr(parsed, "config", None)
    DecoderLM.own = file is None  # a file runs nobody's own code
    with usage_errors():
        if parsed.command == "run":  # before tasks are looked for, which takes a minute
            asked = {**(read_config(Path(file)) if file else {}), **{key: value for key, value in vars(parsed).items() if value}}
            given = asked.get("model_args") or {}
            if asked.get("model") == MODEL:
                given = simple_parse_args_string(given) if isinstance(given, str) else given
                parse_decoder(words_of(str(given.get("decoder", "greedy")), given), own=DecoderLM.own)
        harness.execute(parsed)
    return 0


def read_config(path: Path) -> dict[str, Any]:
    """The harness's options of a file, each of a kind that the harness can do something with.

    Raises:
        UsageError: If the file cannot be read.
        ValueError: If it is no mapping of the harness's options, or a value is of another kind.
    """
    from lm_eval.config.evaluate_config import DICT_KEYS, EvaluatorConfig

    where = f"--config {path}"
    try:
        content = yaml_mapping(path, where)
    except OSError as error:
        raise UsageError(f"{where}: {error.strerror}") from error
    hints = get_type_hints(EvaluatorConfig)
    for key, value in content.items():
        if key not in hints:
            raise ValueError(f"{where}: unknown option {key!r}{did_you_mean(str(key), hints)}; known: {', '.join(hints)}")
        kinds = {get_origin(each) or each for each in get_args(hints[key]) or (hints[key],)}
        kinds |= {int} if float in kinds else set()
        kinds |= {str} if key in DICT_KEYS or key == "batch_size" else set()  # a=1,b=2; auto
        if value is not None and type(value) not in kinds:
            needed = " or ".join(sorted(kind.__name__ for kind in kinds - {type(None)}))
            raise ValueError(f"{where}: {key} is {type(value).__name__} {str(value)[:40]!r}: {needed} is needed")
        if key == "tasks" and isinstance(value, list) and not all(isinstance(each, str) for each in value):
            raise ValueError(f"{where}: tasks is {str(value)[:40]!r}: names are needed")
    return content


def model_args(words: Sequence[str]) -> dict[str, Any]:
    """What ``--model_args`` says, where a decoder with commas in it stands in brackets; nothing where it is JSON, or not there.

    Raises:
        UsageError: For brackets or quotes that are left open, and for what is not ``key=value``.

    Example:
        >>> model_args(["--model_args", "pretrained=gpt2,decoder=[dola:layers=low,alpha=0.1]", "--tasks", "x"])
        {'pretrained': 'gpt2', 'decoder': 'dola:layers=low,alpha=0.1'}
    """
    if "--model_args" not in words:
        return {}
    own = list(takewhile(lambda word: not word.startswith("-"), words[words.index("--model_args") + 1 :]))
    if any(word.startswith("{") for word in own):
        return {}
    try:
        pairs = [split_pair(pair, "--model_args") for word in own for pair in split_at(word, ",") if pair]
    except ValueError as error:
        raise UsageError(str(error)) from error
    return {key: value[1:-1] if value.startswith("[") else literal(unquoted(value)) for key, value in pairs}
