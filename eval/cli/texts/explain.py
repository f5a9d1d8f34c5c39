"""``counterpoint explain``: why a decoder chose each token of its text, as a page or as JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

from counterpoint.eval.choosing import parse_decoder
from counterpoint.eval.cli.errors import UsageError, option_names, usage_errors
from counterpoint.eval.cli.models import chosen_format, load_model
from counterpoint.eval.cli.options import SHARED, add_shared, positive
from counterpoint.eval.cli.prompts import read_prompts
from counterpoint.eval.cli.terminal import printing_to, write


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the options of ``counterpoint explain``."""
    parser = subparsers.add_parser(
        "explain",
        help="why a decoder chose each token, as a page",
        description="Continue a prompt and write a page that shows, token by token, what the decoder did: the rank that greedy\n"
        "search would have given, the candidates with their probabilities and the contrast, what was cut, the layers, or\n"
        "the earlier token that contrastive search penalises the token for.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help='the text to continue ("-" or none: standard input)')
    parser.add_argument(
        "--decoder",
        nargs="+",
        metavar=("NAME", "key=value"),
        default=["contrastive_search"],
        help="the decoder and its parameters, as for generate (default: contrastive_search)",
    )
    parser.add_argument("--max-new-tokens", metavar="N", type=positive, default=64, help="tokens to add at most (default: 64)")
    add_shared(parser, "--chat-template", help=f"{SHARED['--chat-template']['help']} (default: auto)", default="auto")
    add_shared(parser, "--system")
    add_shared(parser, "--model", "--seed", "--device", "--dtype", "--trust-remote-code")
    add_shared(parser, "--output", help="the page's file (default: explanation.html; standard output with --json)")
    add_shared(parser, "--json", help="write one JSON object instead of a page")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Write the page, or the JSON object.

    Raises:
        UsageError: If the choice is wrong, or there are several prompts.
        ValueError: If the decoder refuses the model, or has no step a token to show.
    """
    with usage_errors():
        spec = parse_decoder(arguments.decoder)
    prompts = read_prompts(arguments.prompt, None)
    if len(prompts) > 1:
        raise UsageError(f"{len(prompts)} prompts, one a line: a page shows one; give it as an argument")

    from counterpoint.eval import chat, generation, loading  # after the arguments, since these import torch
    from counterpoint.eval.explaining.explanation import check_shown, explained

    with usage_errors():
        check_shown(spec)

    with loading.quiet():
        loaded = load_model(arguments)
        chats = chosen_format(arguments, loaded, prompts)
        with option_names("max_new_tokens", "chat_template"):
            asked = generation.request(loaded, chat.make_prompt(prompts[0], chats), arguments.max_new_tokens)
        found = explained(loaded, asked, arguments.max_new_tokens, arguments.seed, spec)
    page = arguments.output or (None if arguments.json else Path("explanation.html"))
    with printing_to(page):
        write(found.json() + "\n" if arguments.json else found.html())
    if page is not None:
        write(f"{page}\n")
    return 0
