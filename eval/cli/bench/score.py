"""``counterpoint bench score``: metrics of saved texts, without generating."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from counterpoint.decoders.choosing.grammar import OWN
from counterpoint.eval.bench.records import read_config
from counterpoint.eval.cli.errors import CommandError, UsageError, option_names, usage_errors
from counterpoint.eval.cli.options import add_shared
from counterpoint.eval.directories import written_alone
from counterpoint.eval.report.formats import FORMATS

MODELS = ("scorer", "embedder", "mauve_protocol", "featurizer", "device", "trust_remote_code")
"""Options of the models that metrics need, which run in their own precision, whatever that of the model that wrote."""


def add_score_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the metrics and their models; those not given are missing from the result."""
    group = parser.add_argument_group("what is measured")

    def add(*names: str, **settings: Any) -> None:
        group.add_argument(*names, default=argparse.SUPPRESS, **settings)

    add(
        "--metrics",
        nargs="+",
        metavar="NAME",
        help="metrics, as `counterpoint bench ls` lists them (default: all that need no further options)",
    )
    add("--scorer", metavar="ID_OR_PATH", help="the language model of coherence and perplexity (default: the embedded expert)")
    add(
        "--mauve-protocol",
        metavar="NAME",
        help="how MAUVE prepares texts, as `counterpoint bench ls` lists it (default: counterpoint)",
    )
    add("--featurizer", metavar="ID_OR_PATH", help="the model whose features MAUVE compares (default: the protocol's own)")
    add("--embedder", metavar="ID_OR_PATH", help="the sentence encoder of embedding_coherence")
    add(
        "--formats",
        metavar="NAME,...",
        type=formats,
        help="formats of the table beside results.json and report.html: csv, latex, markdown (default: markdown)",
    )


def formats(text: str) -> str:
    """Check names of formats with commas between them."""
    for name in text.split(","):
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"{text!r} has {name!r}, which is none of {', '.join(sorted(FORMATS))}")
    return text


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare ``counterpoint bench score``."""
    parser = subparsers.add_parser(
        "score",
        help="compute metrics of saved texts anew, without generating",
        description="Compute metrics of the texts in a folder anew, without generating, and write results.json, table.md, plots "
        "and report.html there.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="folder that `counterpoint bench` wrote")
    add_score_options(parser)
    add_shared(
        parser,
        "--device",
        "--trust-remote-code",
        "--json",
        "--quiet",
        default=argparse.SUPPRESS,
    )  # those not given are missing from the result
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Score, and print the table or the results."""
    options = vars(arguments)
    asked = options.get("metrics") or stored_metrics(arguments.directory)
    check_models(asked, options)
    with written_alone(arguments.directory):
        results = score(arguments.directory, options)
    show(results, arguments.directory, options)
    refuse_missing(results, asked, arguments.directory)
    return 0


def check_models(names: Sequence[str], options: Mapping[str, Any]) -> None:
    """Refuse what is known to be in the way of metrics that were asked for, before anything is generated or measured.

    Args:
        names: The metrics that are asked for by name.
        options: As for :func:`score`.

    Raises:
        UsageError: For a protocol or metric that there is not, and for one without the option it needs.
        CommandError: For a model that cannot be loaded, or a package that is not installed.
    """
    from counterpoint.eval.bench.metric_models import check
    from counterpoint.eval.bench.results import check_names
    from counterpoint.eval.metrics.mauve_protocols import protocol_named  # these import torch

    with usage_errors():
        check_names(names)
    if protocol := options.get("mauve_protocol"):
        with usage_errors():
            protocol_named(protocol)
    if "embedding_coherence" in names and not options.get("embedder"):
        raise UsageError("--metrics embedding_coherence needs a sentence encoder: --embedder ID_OR_PATH")
    with option_names("scorer", "embedder", "featurizer", "device"):
        check(names, **{name: options[name] for name in MODELS if options.get(name) is not None})


def refuse_missing(results: Mapping[str, Any], names: Sequence[str], directory: Path) -> None:
    """Fail if a metric that was asked for by name has no figure for a decoder.

    Raises:
        CommandError: With the first reason; the table has all of them.
    """
    from counterpoint.eval.bench.scores import ELSEWHERE  # imports torch

    for key, column in results["columns"].items():
        for row in results["rows"]:
            reason = row["figures"][key].get("reason")
            told = reason in (None, ELSEWHERE) or key == "peak_memory"  # which some devices do not tell
            if column["metric"] in names and not told:
                raise CommandError(
                    f"--metrics {column['metric']} has no figure for {row['label']}: {reason}; see {directory / 'table.md'}"
                )


def score(directory: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Compute the metrics of a folder's texts, and write the results, the tables, the pictures and the report.

    Args:
        directory: Folder that ``counterpoint bench`` wrote.
        options: Options of :func:`add_score_options` and ``device``, ``trust_remote_code``, ``quiet``, as far as they are given.
    """
    from counterpoint.eval.bench.metric_models import MetricModels
    from counterpoint.eval.bench.results import check_names, default_metrics, score_directory
    from counterpoint.eval.progress import progress_bar
    from counterpoint.eval.report.files import write_files  # these import torch

    models = MetricModels(directory, **{name: options[name] for name in MODELS if options.get(name) is not None})
    names = options.get("metrics") or stored_metrics(directory) or default_metrics(models)
    with usage_errors():
        check_names(names)
    with progress_bar("metric", quiet=bool(options.get("quiet")), kept="all texts are kept") as bar:

        def tick(what: str) -> None:
            bar.describe(what)
            bar.update()

        results = score_directory(directory, names, models, tick)
    write_files(directory, results, (options.get("formats") or "markdown").split(","))
    return results


def stored_metrics(directory: Path) -> list[str]:
    """The metrics that a folder was scored with.

    Raises:
        UsageError: If one is code of somebody's own, since a folder that came from elsewhere may name any.
    """
    names: list[str] = read_config(directory)["metrics"] or []
    own = next((name for name in names if OWN.fullmatch(name)), None)
    if own is not None:
        raise UsageError(
            f"{directory} names {own}, code of somebody's own, which runs only where a command line names it: "
            f"--metrics {' '.join(names)}"
        )
    return names


def show(results: Mapping[str, Any], directory: Path, options: Mapping[str, Any]) -> None:
    """Print the results, for machines or for people."""
    from counterpoint.eval.report.table import markdown

    if options.get("json"):
        print(json.dumps(results, ensure_ascii=False))
    elif not options.get("quiet"):
        print(markdown(results, details=False))
        print(directory / "report.html")
