"""``counterpoint bench add``: texts that were made elsewhere, beside those of this process."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from counterpoint.eval.cli.bench.options import DEFAULTS
from counterpoint.eval.cli.errors import CommandError, UsageError, option_names, usage_errors
from counterpoint.eval.cli.options import add_shared, folder, positive


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare ``counterpoint bench add``."""
    parser = subparsers.add_parser(
        "add",
        help="read texts that were made elsewhere into a folder",
        description="Read texts that Ray Data, an offline engine or anybody wrote into a folder, where `counterpoint bench score` "
        "measures them beside the others. Their speed is not measured here.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", type=folder, help="folder that `counterpoint bench` wrote, or a new one")
    parser.add_argument(
        "--file",
        metavar="FILE",
        type=Path,
        required=True,
        help='the texts, JSON Lines with "text" (or "generated_text"), and "prompt" (or "messages") or "index", which says what '
        "each continues; several of a prompt are its samples",
    )
    parser.add_argument(
        "--label", metavar="NAME:key=value,...", required=True, help="what the texts are called in tables, with what made them so"
    )
    add_shared(parser, "--model", required=True, default=None, help="the model that wrote them")
    parser.add_argument("--made-by", metavar="TEXT", required=True, help="the engine, its release and settings, in words")
    parser.add_argument(
        "--prompts", metavar="FILE_OR_ID", help="of a new folder: the prompts, as `counterpoint bench --file` reads them"
    )
    add_shared(
        parser, "--tokenizer", help="of a new folder: the model's tokenizer, by which references are cut; without it there are none"
    )
    parser.add_argument(
        "--max-new-tokens",
        metavar="N",
        type=positive,
        help=f"of a new folder: the most tokens of a text, after which references are cut (default: {DEFAULTS['max_new_tokens']})",
    )
    add_shared(parser, "--trust-remote-code", "--json", "--quiet")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Read the texts, and say how they are measured.

    Raises:
        CommandError: If the file or the folder cannot be read, or a row is wrong.
    """
    directory = arguments.directory
    there = (directory / "config.json").exists()
    given = next((name for name in ("prompts", "tokenizer", "max_new_tokens") if getattr(arguments, name) is not None), None)
    if there and given:
        raise UsageError(
            f"--{given.replace('_', '-')}: {directory} has its prompts and references; leave it out, or name a new folder"
        )
    if not there and arguments.prompts is None:
        raise UsageError(f"{directory} is no folder that `counterpoint bench` wrote; a new one needs --prompts FILE")

    from counterpoint.eval.bench.elsewhere import Maker, add_texts  # imports torch
    from counterpoint.eval.inputs import decoded

    with usage_errors("label", "model", "made_by"):
        maker = Maker.of(arguments.label, arguments.model, arguments.made_by)
    with option_names("file", "label", "tokenizer"):
        new = None if there else beginning(arguments)
        try:
            content = decoded(arguments.file.read_bytes(), f"file={arguments.file}")
        except OSError as error:
            raise CommandError(f"--file {arguments.file}: {error.strerror or error}") from error
        texts = add_texts(directory, content, f"file={arguments.file}", maker, new)
    if arguments.json:
        print(json.dumps({"label": maker.label, "texts": len(texts), "prompts": len({each.index for each in texts})}))
    elif not arguments.quiet:
        print(f"{len(texts)} texts of {maker.label} are in {directory}; to measure them: counterpoint bench score {directory}")
    return 0


def beginning(arguments: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """What a new folder begins with: its configuration and its prompts.

    Raises:
        CommandError: If the prompts cannot be read.
    """
    from counterpoint.eval.bench.elsewhere import begun
    from counterpoint.eval.bench.passages import read_pairs
    from counterpoint.eval.engines.served import read_tokenizer

    try:
        pairs = read_pairs(arguments.prompts)
    except ValueError as error:
        raise CommandError(str(error).replace("file=", "--prompts ")) from error
    tokenizer = read_tokenizer(arguments.tokenizer, arguments.trust_remote_code) if arguments.tokenizer else None
    return begun(pairs, arguments.model, tokenizer, arguments.max_new_tokens or DEFAULTS["max_new_tokens"])
