"""``counterpoint bench ls``: what there is to choose from."""

from __future__ import annotations

import argparse

from counterpoint.eval.decoder_arguments import describe_decoders


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare ``counterpoint bench ls``."""
    return subparsers.add_parser(
        "ls", help="list decoders, metrics and presets", description="List decoders, metrics and presets.", allow_abbrev=False
    )


def run(arguments: argparse.Namespace) -> int:
    """Print all of it."""
    print(f"decoders and their defaults:\n{describe_decoders()}")
    return 0
