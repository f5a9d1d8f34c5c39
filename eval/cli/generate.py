"""``counterpoint generate``: continue prompts with a decoder, or with several to compare them."""

from __future__ import annotations

import argparse
from functools import partial

from counterpoint.eval.choosing import (
    DecoderSpec,
    best_of,
    describe_decoders,
    describe_rankers,
    parse_decoder,
    parse_rankers,
)
from counterpoint.eval.cli.decoder_aliases import add_aliases, option_of, parse_named
from counterpoint.eval.cli.errors import UsageError, option_names, usage_errors
from counterpoint.eval.cli.models import load_model
from counterpoint.eval.cli.options import add_shared, positive
from counterpoint.eval.cli.prompts import read_prompts
from counterpoint.eval.cli.terminal import printing_to, write


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the options of ``counterpoint generate``."""
    parser = subparsers.add_parser(
        "generate",
        help="continue a prompt with a decoder, or compare decoders",
        description="Continue a prompt with a decoder, or compare decoders. Without --model it needs no network.",
        epilog=f"decoders and their defaults:\n{describe_decoders()}\n\nrankers and their defaults:\n{describe_rankers()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    prompts = parser.add_mutually_exclusive_group()
    prompts.add_argument("prompt", nargs="?", metavar="PROMPT", help="text to continue; - or nothing reads standard input")
    prompts.add_argument("--file", metavar="FILE", help='prompts, one a line, or JSON Lines with "prompt"; - is standard input')
    decoders = parser.add_mutually_exclusive_group()
    decoders.add_argument(
        "--decoder",
        nargs="+",
        metavar=("NAME", "key=value"),
        help="the decoder and its parameters (default: contrastive_search; with --ranker, nucleus top_p=0.9)",
    )
    decoders.add_argument(
        "--compare", nargs="+", metavar=("NAME", "NAME:key=value,..."), help="several decoders, whose texts stand side by side"
    )
    add_aliases(parser, "--decoder")
    ranking = parser.add_argument_group("choosing among samples")
    ranking.add_argument(
        "--ranker",
        nargs="+",
        metavar=("NAME", "key=value"),
        help="sample several texts and print the one that this ranker puts first",
    )
    ranking.add_argument(
        "--num-candidates", metavar="N", type=positive, help="texts that are proposed (default: 20; 10 for each beam)"
    )
    ranking.add_argument(
        "--beams", metavar="N", type=positive, help="texts that are kept and continued (default: 1; 2 with --tokens-per-round)"
    )
    ranking.add_argument(
        "--tokens-per-round", metavar="N", type=positive, help="tokens between choices (default: one choice, at the end)"
    )
    parser.add_argument("--max-new-tokens", metavar="N", type=positive, default=200, help="tokens to add at most (default: 200)")
    add_shared(parser, "--model", "--seed", "--device", "--dtype", "--trust-remote-code", "--output")
    add_shared(parser, "--json", help="print one JSON object a line for each prompt and decoder, and nothing else")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Continue every prompt, and print the texts, a comparison or JSON."""
    specs = chosen_decoders(arguments)
    prompts = read_prompts(arguments.prompt, arguments.file)

    from counterpoint.eval import generation, loading  # after the arguments, since these import torch
    from counterpoint.eval.cli import printing

    with loading.quiet():
        loaded = load_model(arguments)
        with option_names("max_new_tokens"):
            encoded = [generation.encode(loaded, prompt, arguments.max_new_tokens) for prompt in prompts]
        with printing_to(arguments.output):
            for index, (prompt, ids) in enumerate(zip(prompts, encoded, strict=True)):
                continue_prompt = partial(generation.generate, loaded, ids, arguments.max_new_tokens, arguments.seed)
                if arguments.json:
                    printing.print_records(prompt, specs, continue_prompt, loaded, arguments.seed)
                    continue
                if index:
                    write("\n")
                if arguments.compare:
                    printing.print_comparison(prompt, specs, continue_prompt)
                else:
                    printing.print_text(prompt, specs[0], continue_prompt)
    return 0


@usage_errors()
def chosen_decoders(arguments: argparse.Namespace) -> list[DecoderSpec]:
    """The decoders that are named, or contrastive search; with ``--ranker`` those that choose among what they propose.

    Raises:
        UsageError: If there are options of candidates but no ranker, or if a decoder proposes only one text.
    """
    if arguments.compare:
        specs = parse_named("--compare", [[word] for word in arguments.compare], arguments)
    else:
        specs = parse_named("--decoder", [arguments.decoder] if arguments.decoder else [], arguments)
    if arguments.ranker:
        options = {"candidates": arguments.num_candidates, "beams": arguments.beams, "tokens_per_round": arguments.tokens_per_round}
        values = {name: value for name, value in options.items() if value is not None}
        rankers = parse_rankers(arguments.ranker)
        return [best_of(rankers, spec, values) for spec in specs] or [best_of(rankers, None, values)]
    for option in ("num_candidates", "beams", "tokens_per_round"):
        if getattr(arguments, option):
            raise UsageError(f"{option_of(option)} needs a ranker that chooses: name one by --ranker")
    return specs or [parse_decoder("contrastive_search")]
