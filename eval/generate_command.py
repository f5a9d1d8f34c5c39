"""``counterpoint generate``: continue prompts with a decoder, or with several to compare them."""

from __future__ import annotations

import argparse
from functools import partial

from counterpoint.eval import EXPERT
from counterpoint.eval.decoder_arguments import describe_decoders, parse_decoder
from counterpoint.eval.prompts import read_prompts


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the options of ``counterpoint generate``."""
    parser = subparsers.add_parser(
        "generate",
        help="continue a prompt with a decoder, or compare decoders",
        description="Continue a prompt with a decoder, or compare decoders. Without --model it needs no network.",
        epilog=f"decoders and their defaults:\n{describe_decoders()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    prompts = parser.add_mutually_exclusive_group()
    prompts.add_argument("prompt", nargs="?", metavar="PROMPT", help="the text to continue; - or nothing is standard input")
    prompts.add_argument("--file", metavar="FILE", help='prompts, one a line, or JSON Lines with "prompt"; - is standard input')
    decoders = parser.add_mutually_exclusive_group()
    decoders.add_argument(
        "--decoder",
        nargs="+",
        metavar=("NAME", "key=value"),
        default=["contrastive_search"],
        help="the decoder and its parameters (default: contrastive_search)",
    )
    decoders.add_argument(
        "--compare", nargs="+", metavar=("NAME", "NAME:key=value,..."), help="several decoders, their texts beside each other"
    )
    parser.add_argument("--model", metavar="ID_OR_PATH", default=str(EXPERT), help="default: the embedded expert")
    parser.add_argument("--max-new-tokens", metavar="N", type=positive, default=200, help="default: %(default)s")
    parser.add_argument("--seed", metavar="N", type=non_negative, default=0, help="of the samplers (default: %(default)s)")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps; default: an accelerator if there is one")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto", help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line for every prompt and decoder")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Generate for every prompt and print as asked."""
    choices = [parse_decoder([word]) for word in arguments.compare or ()] or [parse_decoder(arguments.decoder)]
    prompts = read_prompts(arguments.prompt, arguments.file)

    from counterpoint.eval import generation, loading, printing  # after the arguments, since these import torch

    with loading.quiet():
        loaded = loading.load(arguments.model, arguments.device, arguments.dtype, arguments.trust_remote_code)
        encoded = [generation.encode(loaded, prompt, arguments.max_new_tokens) for prompt in prompts]
        for index, (prompt, ids) in enumerate(zip(prompts, encoded, strict=True)):
            continue_prompt = partial(generation.generate, loaded, ids, arguments.max_new_tokens, arguments.seed)
            if arguments.json:
                printing.print_records(prompt, choices, continue_prompt, loaded, arguments.seed)
                continue
            if index:
                printing.write("\n")
            if arguments.compare:
                printing.print_comparison(prompt, choices, continue_prompt)
            else:
                printing.print_text(prompt, choices[0], continue_prompt)
    return 0


def positive(text: str) -> int:
    """A whole number above 0."""
    return at_least(1, text)


def non_negative(text: str) -> int:
    """A whole number, 0 or more."""
    return at_least(0, text)


def at_least(least: int, text: str) -> int:
    """A whole number that is not below ``least``."""
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
    return int(text)
