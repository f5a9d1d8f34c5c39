"""``counterpoint score``: how likely a decoder finds given continuations."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from typing import Any

from counterpoint.decoders.forwards.chats import shown
from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.cli.candidate_lists import CandidateList, read_candidates
from counterpoint.eval.cli.choice import chosen_decoder
from counterpoint.eval.cli.errors import CommandError
from counterpoint.eval.cli.models import chosen_format, load_model
from counterpoint.eval.cli.options import add_chat_options, add_shared
from counterpoint.eval.cli.prompts import about_pictures
from counterpoint.eval.cli.terminal import check_output, printing_to, write


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the options of ``counterpoint score``."""
    parser = subparsers.add_parser(
        "score",
        help="log-probabilities of given continuations under a decoder",
        description="Log-probabilities of given continuations under a decoder. Each line of the input is a JSON object with a\n"
        'text under "prompt" or "prefix" (or a chat under "messages") and a list of its continuations under "candidates",\n'
        'with the spaces that they begin with. With --json the same objects are printed with "log_probabilities" (null is\n'
        'minus infinity), "tokens", whether each continuation is the "greedy" one, and the "decoder".',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="prompts and continuations, as JSON Lines (default: standard input)"
    )
    parser.add_argument(
        "--decoder",
        nargs="+",
        metavar=("NAME", "key=value"),
        default=["greedy"],
        help="a decoder that defines a distribution, and its parameters (default: greedy, the model itself); plausible sets are "
        "off unless alpha=... is given, as in released scoring code",
    )
    add_shared(parser, "--no-renormalise")
    add_chat_options(parser, "none")
    add_shared(parser, "--model", "--device", "--dtype", "--trust-remote-code", "--output")
    add_shared(parser, "--json", help="print one JSON object a line for each prompt, and nothing else")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Print the score of every continuation.

    Raises:
        CommandError: If the decoder refuses the model, or a text exceeds its context.
    """
    spec = chosen_decoder(arguments)
    check_output(arguments.output, arguments.file, "FILE")
    lists = read_candidates(arguments.file, "FILE")
    prefixes = about_pictures([each.prefix for each in lists], [spec])

    from counterpoint.decoders import score_each  # after the arguments, since these import torch
    from counterpoint.eval import building, loading
    from counterpoint.eval.chat import make_prompt
    from counterpoint.eval.pictures import scored_prompts

    with loading.quiet():
        loaded = load_model(arguments)
        chats = chosen_format(arguments, loaded, prefixes)
        prompts = [make_prompt(each, chats) for each in prefixes]
        processors = building.scoring_processors(spec, loaded, prompts)
        read = scored_prompts(loaded, prompts)
        candidates = [[chats.measured(text) for text in each.candidates] for each in lists]
        with printing_to(arguments.output):
            try:
                scored = score_each(
                    loaded.model,
                    loaded.tokenizer,
                    read,
                    candidates,
                    processors or None,
                    renormalise=arguments.renormalise,
                )
                for each, scores in zip(lists, scored, strict=True):
                    record = {**record_of(each, scores, spec, arguments.renormalise), **chats.facts([each.prefix])}
                    told = (
                        json.dumps(record, ensure_ascii=False) + "\n" if arguments.json else for_people(shown(each.prefix), record)
                    )
                    write(told)
            except ValueError as error:
                raise CommandError(f"decoder {spec}: {error}") from error
    return 0


def record_of(given: CandidateList, scores: Any, spec: DecoderSpec, renormalised: bool) -> dict[str, Any]:
    """A line of the input with its scores."""
    return {
        **given.record,
        "log_probabilities": [each.total if math.isfinite(each.total) else None for each in scores],  # JSON has no infinity
        "tokens": [len(each.tokens) for each in scores],
        "greedy": [each.greedy for each in scores],
        "decoder": str(spec),
        **({"origins": origins} if (origins := spec.origins()) else {}),
        "renormalised": renormalised,
    }


def for_people(prompt: str, record: Mapping[str, Any]) -> str:
    """The prompt, and under it each continuation behind its score."""
    lines = [
        f"{-math.inf if score is None else score:>10.4f}  {' '.join(text.split())}"
        for score, text in zip(record["log_probabilities"], record["candidates"], strict=True)
    ]
    return "\n".join([" ".join(prompt.split()), *lines, ""])
