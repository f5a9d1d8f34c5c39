"""``counterpoint kernels``: which kernels this machine is fastest with, measured and saved."""

from __future__ import annotations

import argparse
import json

from counterpoint.eval.cli.models import load_model
from counterpoint.eval.cli.options import add_shared, new_file
from counterpoint.eval.journal import write_whole


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the options of ``counterpoint kernels``."""
    parser = subparsers.add_parser(
        "kernels",
        help="measure the products of a few rows on this machine, and save which are fastest",
        description="Measure on this machine's CPU how fast a model's linear layers are with a few rows, the candidates of a "
        "contrastive search or the early exits of a layer contrast, by each kernel. Decoders do so by themselves when they first "
        "need it; with COUNTERPOINT_KERNELS=FILE they take the kernels of a file instead, in every process the same.",
        allow_abbrev=False,
    )
    add_shared(parser, "--model", "--dtype", "--trust-remote-code")
    parser.add_argument(
        "--packed", action="store_true", help="try packed weights too, which take as much memory again as the weights they copy"
    )
    add_shared(parser, "--output", help="file to write, as JSON, for COUNTERPOINT_KERNELS", type=new_file)
    add_shared(parser, "--json")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the times, and write the file."""
    import torch

    from counterpoint.decoders.kernels.choosing import named, survey
    from counterpoint.decoders.kernels.machine import cpu_name
    from counterpoint.decoders.kernels.policy import NAMES, Policy, pinned
    from counterpoint.decoders.kernels.skinny_linear import linear_weights
    from counterpoint.eval import loading

    arguments.device = "cpu"
    with loading.quiet(), pinned(Policy(packed=arguments.packed)) as own, own:
        choices = survey(linear_weights(load_model(arguments).model))
    written = {
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "kernels": named(choices),
    }
    if arguments.output is not None:
        write_whole(arguments.output, json.dumps(written, indent=2) + "\n")
    if arguments.json:
        measured = {
            str(product): {name: 1e6 * seconds for name, seconds in choice.seconds.items()} for product, choice in choices.items()
        }
        print(json.dumps({**written, "microseconds": measured}))
        return 0
    print(f"{written['cpu']}, {written['threads']} threads, torch {written['torch']}; microseconds, and the kernel that is used")
    print(f"{'':<32}" + "".join(f"{name:>12}" for name in NAMES))
    for product, choice in choices.items():
        times = [f"{1e6 * choice.seconds[name]:.0f}" if name in choice.seconds else "" for name in NAMES]
        print(f"{product!s:<32}" + "".join(f"{time:>12}" for time in times) + f"  {choice.kernel}")
    return 0
