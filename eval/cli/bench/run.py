"""``counterpoint bench run``: continue every prompt with every decoder, time the decoders, then score."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from counterpoint.eval import EXPERT
from counterpoint.eval.bench.records import read_failures, read_generations
from counterpoint.eval.choosing import DecoderSpec, parse_decoder
from counterpoint.eval.cli.bench.options import DECODERS, SERVED_DECODERS, add_run_options, resolve
from counterpoint.eval.cli.bench.score import check_models, refuse_missing, score, show
from counterpoint.eval.cli.decoder_aliases import parse_named, swept
from counterpoint.eval.cli.errors import CommandError, UsageError, usage_errors
from counterpoint.eval.cli.models import (
    CHAT_OPTIONS,
    CONCURRENCY,
    ENGINE_OPTIONS,
    check_engine,
    model_errors,
    note_template,
    warn_of_empty,
)
from counterpoint.eval.journal import read_records

if TYPE_CHECKING:
    from counterpoint.eval.bench.run import Run


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare ``counterpoint bench run``."""
    parser = subparsers.add_parser(
        "run",
        help="generate and score; what `counterpoint bench` does by itself",
        description="Continue every prompt with every decoder, time the decoders and score the texts. Started again after a kill "
        "it goes on where it stopped.",
        allow_abbrev=False,
    )
    add_run_options(parser)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Generate the texts that are missing, and score all of them.

    Raises:
        CommandError: If decoders failed, after the others were generated and scored.
    """
    options = resolve(arguments)
    specs = parse_decoders(options)
    check_engine(options)
    options.concurrency = options.concurrency or CONCURRENCY

    from counterpoint.eval import loading  # after the arguments: these import torch
    from counterpoint.eval.bench import directory as bench_directory
    from counterpoint.eval.bench import run as bench_run
    from counterpoint.eval.bench import work as bench_work

    with usage_errors("device", "device_map"):
        state = bench_run.processes(options)
    asked = options.metrics or ()
    check_models(asked, vars(options))
    with loading.quiet():
        with model_errors("file", "max_new_tokens", "prompt_tokens", *CHAT_OPTIONS, *ENGINE_OPTIONS):
            prepared = bench_run.Run(options, specs, state)
        if state.is_main_process and not options.quiet:
            note_template(prepared.chats, prepared.loaded, prepared.prompts)
        check_references(asked, prepared)
        if options.dry_run:
            print_plan(prepared)
            return 0
        with bench_directory.written_alone(prepared):
            bench_work.generate_all(prepared)
            state.wait_for_everyone()
            if not state.is_main_process:
                return 0
            if options.shard is not None:
                return told_shard(prepared)
            if options.metrics is None or "speed" in options.metrics:
                bench_work.time_decoders(prepared)
            records = read_generations(options.output_dir)
            warn_of_empty([record["text"] for record in records], prepared.chats, prepared.loaded)
            results = score(options.output_dir, vars(options)) if records else None
    if results:
        show(results, options.output_dir, vars(options))
    own = {str(spec) for spec in specs}
    failed = [record for record in read_failures(options.output_dir) if record["label"] in own]
    if failed:
        first = failed[0]
        raise CommandError(
            f"{len(failed)} of {len(specs)} decoders failed, {first['decoder']} first: {first['error']}; {options.output_dir} "
            "has the errors and the others' texts, and the same command tries again what failed"
        )
    if results:
        refuse_missing(results, asked, options.output_dir)
    return 0


def told_shard(prepared: Run) -> int:
    """Say how a shard's texts are scored, or which decoder failed in it.

    Raises:
        CommandError: If one did.
    """
    own = read_records(prepared.directory, f"failures*-{prepared.shard_name}.jsonl")
    if failed := next(iter(own), None):
        raise CommandError(
            f"shard {prepared.shard_name}: {failed['decoder']} failed: {failed['error']}; the same command tries again"
        )
    if not prepared.options.quiet and not prepared.options.json:
        print(f"shard {prepared.shard_name} is written; when all are: counterpoint bench score {prepared.directory}")
    return 0


def check_references(asked: Sequence[str], prepared: Run) -> None:
    """Refuse MAUVE where there is nothing to compare with.

    Raises:
        UsageError: If no prompt has a reference.
    """
    if "mauve" in asked and all(each.reference is None for each in prepared.passages):
        raise UsageError('--metrics mauve compares with references, and the prompts have none: give them under "reference"')


def parse_decoders(options: argparse.Namespace) -> list[DecoderSpec]:
    """Parse the decoders, and refuse one that is named twice."""
    default: Sequence[str] = (*DECODERS, "contrastive_decoding") if options.model == str(EXPERT) else DECODERS
    default = SERVED_DECODERS if options.engine == "openai" else default
    named = parse_named("--decoders", swept(options.decoders or ()), options)
    specs = named or [parse_decoder([name]) for name in default]
    labels = [str(spec) for spec in specs]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UsageError(f"--decoders: {twice} is named twice")
    return specs


def print_plan(prepared: Run) -> None:
    """Print the plan, as a table or as JSON."""
    from counterpoint.eval.bench.plan import costs

    options = prepared.options
    rows = costs(prepared.tasks, prepared.plan, prepared.done(), options.max_new_tokens)
    if options.json:
        print(json.dumps({**prepared.config(), "plan": rows}, indent=2))
        return
    where = prepared.origin.get("dtype", options.base_url)
    print(f"{options.model}, {where}, {len(prepared.passages)} prompts of {prepared.source}")
    print(table(rows))
    print("tokens and forwards are upper bounds; rows are those of the largest forward, where beams and candidates count")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out rows of the same keys as a table, with the totals of countable columns in the last line."""
    names = list(rows[0])
    total = {name: sum(row[name] for row in rows) for name in ("texts", "done", "tokens", "forwards")}
    lines = [names, *([str(row[name]) for name in names] for row in rows), ["all", *map(str, total.values()), ""]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    return "\n".join(
        f"{line[0]:<{widths[0]}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
        for line in lines
    )
