"""``counterpoint generate``: continue prompts with a decoder, or with several to compare them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial

from counterpoint.eval.cli.decoder_aliases import add_aliases, option_of, parse_named
from counterpoint.eval.cli.options import add_shared, positive
from counterpoint.eval.cli.terminal import printing_to, write
from counterpoint.eval.decoder_specs import DECODERS, DecoderSpec, describe_decoders, parse_decoder
from counterpoint.eval.errors import UsageError
from counterpoint.eval.prompts import read_prompts
from counterpoint.eval.ranker_specs import RankerSpec, describe_rankers, parse_rankers


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
    ranking.add_argument("--num-candidates", metavar="N", type=positive, help="texts to sample for each beam (default: 20)")
    ranking.add_argument("--beams", metavar="N", type=positive, help="texts that are kept and continued (default: 1)")
    ranking.add_argument(
        "--tokens-per-round", metavar="N", type=positive, help="tokens between choices (default: one choice, at the end)"
    )
    parser.add_argument("--max-new-tokens", metavar="N", type=positive, default=200, help="tokens to add at most (default: 200)")
    add_shared(parser, "--model", "--seed", "--device", "--dtype", "--trust-remote-code", "--output")
    add_shared(parser, "--json", help="print one JSON object a line for each prompt and decoder, and nothing else")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Continue every prompt, and print the texts, a comparison or JSON."""
    choices = chosen_decoders(arguments)
    rankers = ranker_choices(arguments, choices)
    prompts = read_prompts(arguments.prompt, arguments.file)

    from counterpoint.eval import generation, loading  # after the arguments, since these import torch
    from counterpoint.eval.cli import printing

    with loading.quiet():
        loaded = loading.load(arguments.model, arguments.device, arguments.dtype, arguments.trust_remote_code)
        generate: Callable[..., generation.Generated] = partial(generation.generate, loaded)
        if rankers:
            from counterpoint.eval import ranked_generation, ranker_loading

            ranker = ranker_loading.load_ranker(rankers, lambda: loaded, arguments.device)
            ranking = ranked_generation.Ranking(
                ranker,
                " ".join(map(str, rankers)),
                beams=arguments.beams or 1,
                samples=arguments.num_candidates or 20,
                tokens_per_round=arguments.tokens_per_round,
            )
            generate = partial(ranked_generation.generate, loaded, ranking)
        encoded = [generation.encode(loaded, prompt, arguments.max_new_tokens) for prompt in prompts]
        with printing_to(arguments.output):
            for index, (prompt, ids) in enumerate(zip(prompts, encoded, strict=True)):
                continue_prompt = partial(generate, ids, arguments.max_new_tokens, arguments.seed)
                if arguments.json:
                    printing.print_records(prompt, choices, continue_prompt, loaded, arguments.seed)
                    continue
                if index:
                    write("\n")
                if arguments.compare:
                    printing.print_comparison(prompt, choices, continue_prompt)
                else:
                    printing.print_text(prompt, choices[0], continue_prompt)
    return 0


def chosen_decoders(arguments: argparse.Namespace) -> list[DecoderSpec]:
    """The decoders that are named, or the default one: with a ranker, the sampler of RankGen's authors."""
    if arguments.compare:
        return parse_named("--compare", [[word] for word in arguments.compare], arguments)
    default = ["nucleus", "top_p=0.9"] if arguments.ranker else ["contrastive_search"]
    return parse_named("--decoder", [arguments.decoder] if arguments.decoder else [], arguments) or [parse_decoder(default)]


def ranker_choices(arguments: argparse.Namespace, choices: Sequence[DecoderSpec]) -> list[RankerSpec]:
    """Parse the rankers, if any are named.

    Raises:
        UsageError: If there are options of candidates but no ranker, or if a decoder proposes only one text.
    """
    if not arguments.ranker:
        for option in ("num_candidates", "beams", "tokens_per_round"):
            if getattr(arguments, option):
                raise UsageError(f"{option_of(option)} needs a ranker that chooses: name one by --ranker")
        return []
    for choice in choices:
        if not choice.decoder.sampling or choice.decoder.ranked:
            samplers = ", ".join(name for name, decoder in DECODERS.items() if decoder.sampling and not decoder.ranked)
            raise UsageError(
                f"decoder {choice.decoder.name} proposes only one text, and --ranker chooses among several; take one of {samplers}"
            )
    return parse_rankers(arguments.ranker)
