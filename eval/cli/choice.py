"""What the commands that ask questions share: their options, the run and its results."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.eval.choosing import DecoderSpec, parse_decoder
from counterpoint.eval.cli.errors import usage_errors
from counterpoint.eval.cli.models import chosen_format, load_model, warn_of_empty
from counterpoint.eval.cli.options import add_chat_options, add_output_dir, add_shared
from counterpoint.eval.directories import written_alone
from counterpoint.eval.journal import Journal, key_of, name_other_releases, releases

if TYPE_CHECKING:
    from counterpoint.eval.chat import ChatFormat
    from counterpoint.eval.loading import Loaded
    from counterpoint.eval.questions.choice_task import ChoiceTask


def add_choice_options(parser: argparse.ArgumentParser, output_dir: str, chat_template: str) -> None:
    """Declare the options that all of them have, with the defaults that differ."""
    add_shared(parser, "--model")
    parser.add_argument(
        "--decoder",
        nargs="+",
        metavar=("NAME", "key=value"),
        default=["greedy"],
        help="the decoder and its parameters, as for generate (default: greedy, the model itself). Plausible sets are off unless "
        "alpha=... is given, as in released scoring code",
    )
    add_shared(parser, "--no-renormalise")
    add_chat_options(parser, chat_template)
    add_shared(parser, "--limit", "--device", "--dtype", "--trust-remote-code")
    add_output_dir(parser, output_dir)
    add_shared(parser, "--json", "--quiet")


def chosen_decoder(arguments: argparse.Namespace, *, scoring: bool = True) -> DecoderSpec:
    """The decoder of ``--decoder``, which is to score given texts or to generate.

    Raises:
        UsageError: If the decoder is wrong, or is to score and defines no distribution.
    """
    with usage_errors():
        return parse_decoder(arguments.decoder, scoring=scoring)


def run_choice(
    arguments: argparse.Namespace,
    questions: Sequence[Any],
    make: Callable[[Loaded, DecoderSpec, ChatFormat], ChoiceTask],
    facts: Mapping[str, Any],
    generate: bool = False,
    more: Callable[[Sequence[Any], Sequence[Mapping[str, Any]], Journal], Mapping[str, float]] | None = None,
) -> int:
    """Score the questions of the task that ``make`` returns, or ``generate`` their answers, and write ``results.json``.

    ``facts`` go into the results as they are; ``more`` computes further metrics from the questions and their records.

    Raises:
        UsageError: If the decoder is wrong.
        CommandError: If the model cannot be loaded.
        ValueError: If the decoder refuses the model.
        OSError: If the results cannot be written.
    """
    spec = chosen_decoder(arguments, scoring=not generate)

    from counterpoint.eval import loading  # after the arguments, since these import torch
    from counterpoint.eval.questions import choice_task, open_answers
    from counterpoint.eval.questions.results import write_results

    wanted = questions[: arguments.limit]
    with loading.quiet(), written_alone(arguments.output_dir):
        loaded = load_model(arguments)
        chats = chosen_format(arguments, loaded)
        task = make(loaded, spec, chats)
        journal = Journal(arguments.output_dir / f"scores-{task.key}.jsonl")
        name_other_releases(journal.results.values(), str(journal.path))
        answer = open_answers.answer if generate else choice_task.answer
        records = answer(task, wanted, journal, arguments.quiet)
        if generate:
            warn_of_empty([record["answer"] for record in records], chats, loaded)
        others = more(wanted, records, journal) if more else {}
        results: dict[str, Any] = {
            "metrics": {**mean_measures([record["measures"] for record in records]), **others},
            "questions": len(records),
            **({"partial": {"questions": len(records), "of": len(questions)}} if len(records) < len(questions) else {}),
            **({} if generate else score_facts(arguments, spec, records)),
            **facts,
            **chats.facts(),
            "decoder": spec.name,
            "label": str(spec),
            "parameters": spec.plain(),
            **({"origins": origins} if (origins := spec.origins()) else {}),
            "model": loaded.name,
            "depends_on": task.depends_on,
            "dtype": str(loaded.model.dtype).removeprefix("torch."),
            "device": str(loaded.model.device),
            "versions": releases() | {"python": platform.python_version()},
        }
        asked = key_of(task.key, *(facts["data"].get(name) for name in ("sha256", "context")))[:12]
        results = write_results(arguments.output_dir, asked, results, records)
    if arguments.json:
        print(json.dumps(results, ensure_ascii=False))
    elif not arguments.quiet:
        print_results(results, arguments.output_dir)
    return 0


def score_facts(arguments: argparse.Namespace, spec: DecoderSpec, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The facts that explain the scores: their number, how many are minus infinity, and whether they are normalised."""
    return {
        "answers": sum(len(record["scores"]) for record in records),
        "banned_answers": sum(value is None for record in records for value in record["scores"].values()),
        "renormalised": arguments.renormalise,
        "scores": "log-probabilities" if arguments.renormalise or spec.row.kind != "processor" else "unnormalised contrast",
    }


def mean_measures(measures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each measure over questions."""
    return {name: sum(each[name] for each in measures) / len(measures) for name in measures[0]}


def print_results(results: Mapping[str, Any], directory: Path) -> None:
    """Print the measures, the number of questions, and the table where the directory has other decoders' results too."""
    from counterpoint.eval.questions.results import markdown, read_results

    for name, value in results["metrics"].items():
        print(f"{name:<19}{value:.4f}")
    scored = f", {results['answers']} answers, scores: {results['scores']}" if "scores" in results else ""
    partial = f" of {results['partial']['of']} (partial)" if "partial" in results else ""
    print(f"{results['questions']}{partial} questions{scored}")
    if results.get("banned_answers"):
        print(f"{results['banned_answers']} answers have a token that the decoder bans: they beat no other")
    everything = read_results([directory])
    if len(everything) > 1:
        print(f"\n{markdown(everything)}")
    print(directory / "results.json")


def add_compare(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    """Declare ``compare`` as a command of a command of questions, which alone is ``run``."""
    parser.set_defaults(questions=run)
    commands = parser.add_subparsers(title="commands, each with --help", metavar="COMMAND")
    subparser = commands.add_parser(
        "compare",
        help="one table of all results in folders",
        description="One table of the results of all decoders in one folder or more: means with intervals, and paired tests "
        "against the first.",
        allow_abbrev=False,
    )
    subparser.add_argument("directories", metavar="DIR", nargs="+", type=Path, help="folders of --output-dir")
    add_shared(subparser, "--json")
    subparser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
    subparser.set_defaults(questions=compare)


def compare(arguments: argparse.Namespace) -> int:
    """Print the table, or all results with how each differs from the first."""
    from counterpoint.eval.questions.results import comparisons, markdown, read_results

    found = read_results(arguments.directories)
    if not arguments.json:
        print(markdown(found).rstrip())
        return 0
    tests: list[list[dict[str, Any]]] = [[] for _ in found]
    for task in dict.fromkeys(each.get("task") for each in found):
        places = [place for place, each in enumerate(found) if each.get("task") == task]
        for (place, measure), test in comparisons([found[each] for each in places]).items():
            tests[places[place]].append({"measure": measure, "against": found[places[0]]["label"], **test})
    told = [{**each, "comparisons": own} for each, own in zip(found, tests, strict=True)]
    print(json.dumps([{name: value for name, value in each.items() if name != "by_question"} for each in told], ensure_ascii=False))
    return 0
