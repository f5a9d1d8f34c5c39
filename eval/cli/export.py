"""``counterpoint export``: a decoder as a folder that ``generate(custom_generate=DIR)`` loads."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from counterpoint.decoders.exporting import EXPORTED, export
from counterpoint.eval.cli.errors import CommandError
from counterpoint.eval.cli.options import add_shared
from counterpoint.eval.directories import written_alone
from counterpoint.eval.journal import writing


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the options of ``counterpoint export``."""
    parser = subparsers.add_parser(
        "export",
        help="write a decoder as a folder for custom_generate=DIR",
        description="Write a decoder as a folder that model.generate(custom_generate=DIR, trust_remote_code=True) loads, "
        "for tools that can pass on nothing but text.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="folder to write")
    names = tuple(EXPORTED)
    parser.add_argument("--decoder", choices=names, default="contrastive_search", help="name of the decoder (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace files that exist already")
    add_shared(parser, "--json")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Export, and print the folder."""
    with written_alone(arguments.directory), writing(arguments.directory):
        try:
            directory = export(arguments.directory, arguments.decoder, overwrite=arguments.force)
        except FileExistsError as error:
            raise CommandError(f"{error} (--force on the command line)") from error
    print(json.dumps({"directory": str(directory)}) if arguments.json else directory)
    return 0
