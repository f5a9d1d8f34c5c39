"""``counterpoint bench ls``: the decoders, metrics and protocols that can be named."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping

from counterpoint.eval.bench.metrics import METRICS
from counterpoint.eval.choosing import TABLE, describe_decoders
from counterpoint.eval.cli.options import add_shared
from counterpoint.eval.metrics.mauve_protocols import PROTOCOLS


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare ``counterpoint bench ls``."""
    parser = subparsers.add_parser(
        "ls",
        help="list decoders, metrics and MAUVE's protocols",
        description="List the decoders, metrics and protocols of MAUVE that can be named.",
        allow_abbrev=False,
    )
    add_shared(parser, "--json")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Print all of them."""
    metrics = {**{name: metric.summary for name, metric in METRICS.items()}, "speed": "tokens a second and peak memory"}
    protocols = {name: protocol.summary for name, protocol in PROTOCOLS.items()}
    if arguments.json:
        decoders = {
            name: {"summary": row.summary, "parameters": {key: each.default for key, each in row.parameters.items()}}
            for name, row in TABLE.rows.items()
        }
        print(json.dumps({"decoders": decoders, "metrics": metrics, "mauve_protocols": protocols}, ensure_ascii=False))
        return 0
    print(f"decoders and their defaults:\n{describe_decoders()}\n")
    print(listed("metrics", metrics), "\n")
    print(listed("MAUVE protocols", protocols))
    return 0


def listed(title: str, items: Mapping[str, str]) -> str:
    """A title, then a line with each name and its summary."""
    width = max(map(len, items))
    return "\n".join([f"{title}:", *(f"  {name:<{width}}  {text}" for name, text in items.items())])
