"""``counterpoint rerank``: put candidates in order by a ranker."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from counterpoint.decoders.forwards.chats import Chat, shown
from counterpoint.eval.choosing import describe_rankers, parse_rankers
from counterpoint.eval.cli.candidate_lists import CandidateList, read_candidates
from counterpoint.eval.cli.errors import CommandError, UsageError, option_names, usage_errors
from counterpoint.eval.cli.models import check_engine, chosen_format, find_model
from counterpoint.eval.cli.options import add_chat_options, add_engine_options, add_shared, positive
from counterpoint.eval.cli.terminal import DIM, check_output, printing_to, style, write

if TYPE_CHECKING:
    from counterpoint.eval.chat import ChatFormat
    from counterpoint.rankers.reranking import Reranked

OF_CANDIDATES = ("log_probabilities", "tokens", "greedy")
"""What `counterpoint score` writes of each candidate."""
TOGETHER = 16
"""Lines that are judged at once."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the options of ``counterpoint rerank``."""
    parser = subparsers.add_parser(
        "rerank",
        help="put candidates in order by a ranker",
        description='Put candidates in order by a ranker. Each line of the input is a JSON object with a text under "prompt" or\n'
        '"prefix" (or a chat under "messages") and a list of its continuations under "candidates", with the spaces that they\n'
        "begin with. The chat template is for rankers by the language model (likelihood,\n"
        "self_certainty, confidence); the others read words. With --json\n"
        'the same objects are printed, candidates best first, with their "scores" (null is minus infinity), their earlier\n'
        'places in "order", and the "ranker".',
        epilog=f"rankers and their defaults:\n{describe_rankers()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--file", metavar="FILE", help="prompts and candidates, as JSON Lines (default: standard input, as is -)")
    parser.add_argument(
        "--ranker",
        nargs="+",
        metavar=("NAME", "key=value"),
        required=True,
        help="the ranker and its parameters, NAME key=value ... or NAME:key=value,...; several are combined",
    )
    parser.add_argument("--top", metavar="N", type=positive, help="print only the N best (default: all of them)")
    add_shared(
        parser,
        "--model",
        help="the model of rankers by a language model, a folder or a name on the hub (default: the embedded expert)",
    )
    add_engine_options(parser)
    add_chat_options(parser, "auto")
    add_shared(parser, "--device", "--dtype", "--trust-remote-code", "--output")
    add_shared(parser, "--json", help="print one JSON object a line for each prompt, and nothing else")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Print the candidates of every line in order."""
    with usage_errors():
        specs = parse_rankers(arguments.ranker)
    check_engine(arguments)
    check_output(arguments.output, arguments.file)
    lists = read_candidates(arguments.file)

    from counterpoint.eval import building, loading  # after the arguments, since these import torch
    from counterpoint.eval.chat import make_prompt
    from counterpoint.eval.engines.served import AnyModel
    from counterpoint.eval.progress import progress_bar
    from counterpoint.rankers import rerank

    @cache
    def model() -> AnyModel:
        return find_model(arguments)

    formats: list[ChatFormat] = []

    def chats_for(loaded: AnyModel) -> dict[str, Chat]:
        formats.append(chats := chosen_format(arguments, loaded, prompts))
        made = ((prompt, make_prompt(prompt, chats)) for prompt in prompts)
        return {shown(prompt): chat for prompt, chat in made if isinstance(chat, Chat)}

    prompts = [each.prefix for each in lists]
    with loading.quiet():
        with option_names("device"):
            ranker = building.load_ranker(specs, model, arguments.device, arguments.trust_remote_code, chats_for)
        chats = formats[0] if formats else unread(arguments)
        name = " ".join(map(str, specs))
        show = print_record if arguments.json else print_ranked
        kept = "{done} prompts are written"
        with (
            printing_to(arguments.output),
            progress_bar("prompt", total=len(lists), quiet=sys.stdout.isatty(), kept=kept, continues=False) as bar,
        ):
            for start in range(0, len(lists), TOGETHER):
                batch = lists[start : start + TOGETHER]
                try:
                    judged = [[chats.measured(text) for text in each.candidates] for each in batch]
                    found = rerank(ranker, [shown(each.prefix) for each in batch], judged)
                except ValueError as error:
                    raise CommandError(f"ranker {name}: {error}") from error
                for each, ranked in zip(batch, found, strict=True):
                    texts = tuple(each.candidates[index] for index in ranked.order)  # with their thinking
                    show(each, replace(ranked, texts=texts), name, arguments.top, chats)
                bar.update(len(batch))
    return 0


def unread(arguments: argparse.Namespace) -> ChatFormat:
    """What the options of chats say where no ranker reads a template.

    Raises:
        UsageError: If they say something to one.
    """
    from counterpoint.eval.chat import ChatFormat  # imports torch

    for option, given in (("--system", arguments.system), ("--thinking off", arguments.thinking == "off")):
        if given:
            raise UsageError(f"{option} is said to a chat template, which rankers by a language model alone read, if it has one")
    return ChatFormat(thinking=arguments.thinking)


def print_record(given: CandidateList, ranked: Reranked, name: str, top: int | None, chats: ChatFormat) -> None:
    """Print the line's record with its candidates in order."""
    scores = [score if math.isfinite(score) else None for score in ranked.scores]  # JSON has no infinity
    best = {"candidates": ranked.texts, "scores": scores, "order": ranked.order}
    for key in OF_CANDIDATES:
        if isinstance(own := given.record.get(key), list) and len(own) == len(given.candidates):
            best[key] = [own[index] for index in ranked.order]
    kept = {key: value[:top] for key, value in best.items()}
    facts = chats.facts([given.prefix]) if chats.template else {}
    write(json.dumps({**given.record, **kept, "ranker": name, **facts}, ensure_ascii=False) + "\n")


def print_ranked(given: CandidateList, ranked: Reranked, name: str, top: int | None, chats: ChatFormat) -> None:
    """Print the prefix, then a line for each candidate with its score, the best first."""
    write(style(shown(given.prefix), DIM) + "\n")
    for score, text in [*zip(ranked.scores, ranked.texts, strict=True)][:top]:
        write(f"{score:>10.4f}  {' '.join(text.split())}\n")
