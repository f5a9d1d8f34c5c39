"""``counterpoint generate``: continue prompts with a decoder, or with several to compare them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from counterpoint.eval.choosing import (
    DecoderSpec,
    best_of,
    describe_decoders,
    describe_rankers,
    parse_decoder,
    parse_rankers,
)
from counterpoint.eval.cli.decoder_aliases import add_aliases, option_of, parse_named, swept
from counterpoint.eval.cli.errors import UsageError, option_names, usage_errors
from counterpoint.eval.cli.models import check_engine, chosen_format, find_model, warn_of_empty
from counterpoint.eval.cli.options import add_chat_options, add_engine_options, add_shared, positive
from counterpoint.eval.cli.prompts import about_pictures, read_prompts
from counterpoint.eval.cli.terminal import printing_to

BATCH_SIZE = 8
"""Prompts that are continued together where a file of texts is written."""


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
    prompts.add_argument(
        "--file", metavar="FILE", help='prompts, one a line, or JSON Lines with "prompt" or "messages"; - is standard input'
    )
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
    add_chat_options(parser.add_argument_group("chats"), "auto")
    parser.add_argument("--max-new-tokens", metavar="N", type=positive, default=200, help="tokens to add at most (default: 200)")
    parser.add_argument("--stop", metavar="TEXT", action="append", help="end a text before TEXT; give it again for several")
    parser.add_argument(
        "-n",
        dest="texts",
        metavar="N",
        type=positive,
        default=1,
        help="texts a prompt, of seeds --seed, --seed + 1, ... (default: 1)",
    )
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=positive,
        help="prompts that are continued together, each with random numbers of its own, so that texts do not depend on N "
        f"(default: {BATCH_SIZE} with --file and --output, else one by one as they come, with the random numbers of generate)",
    )
    add_shared(parser, "--model")
    add_engine_options(parser)
    add_shared(parser, "--seed", "--device", "--dtype", "--trust-remote-code")
    add_shared(
        parser,
        "--output",
        help="write to this file instead of standard output; with --file, JSON Lines, and the same command goes on after a kill",
    )
    add_shared(parser, "--json", help="print one JSON object a line for each prompt and decoder, and nothing else")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Continue every prompt, and print the texts, a comparison or JSON, or write them to a file that a later run completes."""
    specs = chosen_decoders(arguments)
    check_counts(arguments, specs)
    check_engine(arguments)
    prompts = about_pictures(read_prompts(arguments.prompt, arguments.file), specs)

    from counterpoint.eval import building, chat, loading  # after the arguments, since these import torch
    from counterpoint.eval.cli.texts import printing
    from counterpoint.eval.engines import writing
    from counterpoint.eval.engines.served import Served
    from counterpoint.eval.texts import Texts, known_as
    from counterpoint.eval.trimming import Trimming

    with loading.quiet():
        loaded = find_model(arguments, known_as(arguments.output) if arguments.file and arguments.output else None)
        chats = chosen_format(arguments, loaded, prompts)
        with option_names("max_new_tokens", "chat_template"):
            trimming = Trimming(tuple(arguments.stop or ()), chats.marks)
            made = [chat.make_prompt(each, chats) for each in prompts]
            encoded = [writing.request_of(loaded, each, arguments.max_new_tokens, trimming) for each in made]
        for spec in specs:  # what refuses the model does so before anything is written
            if isinstance(loaded, Served):
                writing.check_decoder(loaded, spec)
            else:
                building.generate_arguments(spec, loaded, made[:1])
        if arguments.file and arguments.output:
            arguments.batch_size = arguments.batch_size or BATCH_SIZE
        texts = Texts(arguments, loaded, chats, prompts, encoded, specs)
        if arguments.file and arguments.output:
            with option_names("output"):
                written = texts.write(arguments.output)
        else:
            with printing_to(arguments.output):
                written = printing.print_all(texts)
    warn_of_empty(written, chats, loaded)
    return 0


def check_counts(arguments: argparse.Namespace, specs: Sequence[DecoderSpec]) -> None:
    """Refuse several texts of a prompt where a decoder has one alone, and texts side by side that are several."""
    alone = next((spec.name for spec in specs if not spec.sampling), None)
    if arguments.texts > 1 and alone:
        raise UsageError(f"-n {arguments.texts}: {alone} has one text for a prompt; take a decoder that draws, such as nucleus")
    if any(not each for each in arguments.stop or ()):
        raise UsageError("--stop is empty; give the text before which a text ends")


@usage_errors()
def chosen_decoders(arguments: argparse.Namespace) -> list[DecoderSpec]:
    """The decoders that are named, or contrastive search; with ``--ranker`` those that choose among what they propose.

    Raises:
        UsageError: If there are options of candidates but no ranker, or if a decoder proposes only one text.
    """
    if arguments.compare:
        specs = parse_named("--compare", swept(arguments.compare), arguments)
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
