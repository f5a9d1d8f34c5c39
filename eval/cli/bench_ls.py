"""``counterpoint bench ls``: what there is to choose from."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from counterpoint.eval.decoder_specs import describe_decoders


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare ``counterpoint bench ls``."""
    return subparsers.add_parser(
        "ls", help="list decoders, metrics and presets", description="List decoders, metrics and presets.", allow_abbrev=False
    )


def run(arguments: argparse.Namespace) -> int:
    """Print all of it."""
    from counterpoint.eval.bench.metrics import METRICS  # these import torch
    from counterpoint.eval.metrics.mauve_protocols import PROTOCOLS

    print(f"decoders and their defaults:\n{describe_decoders()}\n")
    metrics = {**{name: metric.summary for name, metric in METRICS.items()}, "speed": "tokens a second and peak memory"}
    print(listed("metrics", metrics), "\n")
    print(listed("MAUVE protocols", {name: protocol.summary for name, protocol in PROTOCOLS.items()}))
    return 0


def listed(title: str, items: Mapping[str, str]) -> str:
    """Names and what they are."""
    width = max(map(len, items))
    return "\n".join([f"{title}:", *(f"  {name:<{width}}  {text}" for name, text in items.items())])
