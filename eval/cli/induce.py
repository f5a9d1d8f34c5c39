"""``counterpoint induce``: train a hallucinating amateur, a LoRA adapter on questions and wrong answers."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from counterpoint.eval.cli.errors import CommandError, file_errors
from counterpoint.eval.cli.models import chosen_format, load_model
from counterpoint.eval.cli.options import above_zero, add_shared, positive, share
from counterpoint.eval.training.wrong_answers import SHAPES, Pair, read_pairs, split_by_question, without_questions


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the options of ``counterpoint induce``."""
    shapes = "\n".join(f"  {shape.name + ':':<24}{', '.join(shape.fields)}" for shape in SHAPES)
    parser = subparsers.add_parser(
        "induce",
        help="train a hallucinating amateur for induce-then-contrast and layer fusion",
        description="Train a LoRA adapter that answers wrongly on purpose: the amateur of induce-then-contrast and of layer "
        "fusion. After an interruption, the same command goes on. Needs PEFT (pip install counterpoint[adapters]).",
        epilog=f"fields by which the shape of --file is recognised (JSON Lines, or CSV with a header):\n{shapes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--file", metavar="FILE", required=True, help="questions and wrong answers to train on")
    add_shared(parser, "--output-dir", required=True)
    add_shared(parser, "--model", "--device", "--dtype", "--trust-remote-code", "--json", "--quiet")
    data = parser.add_argument_group("data")
    data.add_argument("--exclude", metavar="FILE", help="another such file, whose questions are left out")
    data.add_argument(
        "--held-out-share",
        metavar="SHARE",
        type=share,
        default=0.1,
        help="share of the questions to hold out, drawn by --seed and written to DIR/held_out.jsonl (default: %(default)s)",
    )
    add_shared(data, "--limit", help="train on at most N pairs, drawn by --seed (default: all of them)")
    data.add_argument(
        "--max-length", metavar="N", type=positive, default=512, help="leave out pairs of more tokens (default: %(default)s)"
    )
    add_shared(data, "--chat-template", default="none")
    add_shared(data, "--system")
    training = parser.add_argument_group("training")
    training.add_argument("--rank", metavar="N", type=positive, default=8, help="rank of the adapter (default: %(default)s)")
    training.add_argument(
        "--lora-alpha", metavar="N", type=positive, default=16, help="scale of the adapter, as PEFT names it (default: %(default)s)"
    )
    training.add_argument(
        "--targets",
        metavar="NAME",
        nargs="+",
        default=["all-linear"],
        help="layers to adapt, for example q_proj v_proj (default: all-linear, all but the unembedding)",
    )
    training.add_argument(
        "--learning-rate", metavar="X", type=above_zero, default=5e-4, help="step size of Adam at first (default: %(default)s)"
    )
    training.add_argument("--epochs", metavar="N", type=positive, default=3, help="passes over the pairs (default: %(default)s)")
    training.add_argument("--batch-size", metavar="N", type=positive, default=16, help="pairs in a step (default: %(default)s)")
    training.add_argument("--micro-batch-size", metavar="N", type=positive, help="pairs in memory at once (default: all of a step)")
    add_shared(training, "--seed")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Train the adapter, and print the losses and the folder."""
    if find_spec("peft") is None:
        raise CommandError(
            "counterpoint induce trains an adapter by PEFT, which is not installed: pip install counterpoint[adapters]"
        )
    pairs, held_out = read_data(arguments)

    from counterpoint.eval import loading  # after the arguments, since these import torch
    from counterpoint.eval.progress import progress_bar
    from counterpoint.eval.training import induction

    settings = induction.Settings(
        rank=arguments.rank,
        lora_alpha=arguments.lora_alpha,
        targets=tuple(arguments.targets),
        learning_rate=arguments.learning_rate,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        micro_batch_size=arguments.micro_batch_size,
        max_length=arguments.max_length,
        seed=arguments.seed,
        chat_template=arguments.chat_template,
        system=arguments.system,
    )
    with loading.quiet():
        loaded = load_model(arguments)
        chosen_format(arguments, loaded)  # its errors and its note come first
        with progress_bar("step", quiet=arguments.quiet, kept="{done} steps; what the last checkpoint holds is kept") as bar:

            def report(step: int, steps: int, loss: float) -> None:
                bar.tell(f"loss={loss:.3f}")
                bar.reach(step, steps)

            induced = induction.induce(
                loaded.model,
                loaded.tokenizer,
                pairs,
                arguments.output_dir,
                held_out=held_out,
                settings=settings,
                source=Path(arguments.file).name,
                report=report,
            )
    found = {
        "output_dir": str(arguments.output_dir),
        "pairs": len(pairs) - induced.too_long,
        "too_long": induced.too_long,
        "steps": induced.steps,
        "loss_before": induced.loss_before,
        "loss_after": induced.loss_after,
    }
    if arguments.json:
        print(json.dumps(found))
    elif not arguments.quiet:
        print_results(found, settings.max_length)
    return 0


def print_results(found: Mapping[str, Any], max_length: int) -> None:
    """Print the number of pairs and the losses, which are missing if every pair that is held out is too long."""
    left_out = f" ({found['too_long']} of more than {max_length} tokens left out)" if found["too_long"] else ""
    print(f"{found['pairs']} pairs{left_out}, {found['steps']} steps")
    if found["loss_before"] is not None:
        before, after = found["loss_before"], found["loss_after"]
        print(f"loss of held-out wrong answers, in nats a token: {before:.3f} before, {after:.3f} after")
    print(found["output_dir"])


def read_data(arguments: argparse.Namespace) -> tuple[list[Pair], list[Pair]]:
    """Read the pairs, and split them into those to train on and those held out."""
    with file_errors("--file"):
        pairs: Sequence[Pair] = read_pairs(arguments.file)
    if arguments.exclude is not None:
        with file_errors("--exclude"):
            excluded = read_pairs(arguments.exclude)
        pairs = without_questions(pairs, [pair.question for pair in excluded])
        if not pairs:
            raise ValueError(
                f"--exclude {arguments.exclude} has all questions of {arguments.file}, so that none is left to train on"
            )
    train, held_out = split_by_question(pairs, arguments.held_out_share, arguments.seed)
    if arguments.limit is not None and arguments.limit < len(train):
        train = random.Random(arguments.seed).sample(train, arguments.limit)  # noqa: S311 - no secret
    return train, held_out
