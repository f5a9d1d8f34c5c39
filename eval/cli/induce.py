"""``counterpoint induce``: train a hallucinating amateur, a LoRA adapter on questions and wrong answers."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from counterpoint.eval import EXPERT
from counterpoint.eval.cli.options import above_zero, non_negative, positive, share
from counterpoint.eval.errors import CommandError
from counterpoint.eval.training.wrong_answers import SHAPES, Pair, read_pairs, split_by_question, without_questions


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the options of ``counterpoint induce``."""
    shapes = "\n".join(f"  {shape.name + ':':<24}{', '.join(shape.fields)}" for shape in SHAPES)
    parser = subparsers.add_parser(
        "induce",
        help="train a hallucinating amateur for induce-then-contrast and layer fusion",
        description="Train a LoRA adapter that answers wrongly on purpose: the amateur of induce-then-contrast and of layer "
        "fusion. The same command again goes on after an interruption. Needs PEFT (pip install counterpoint[adapters]).",
        epilog=f"fields by which --data is recognised (JSON Lines, or CSV with a header):\n{shapes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--data", metavar="FILE", required=True, help="questions and wrong answers")
    parser.add_argument("--output", metavar="DIR", type=Path, required=True, help="the folder for the adapter")
    parser.add_argument("--model", metavar="ID_OR_PATH", default=str(EXPERT), help="default: the embedded expert")
    data = parser.add_argument_group("data")
    data.add_argument("--exclude", metavar="FILE", help="a file of such a shape whose questions are left out of --data")
    data.add_argument(
        "--held-out",
        metavar="SHARE",
        type=share,
        default=0.1,
        help="share of the questions to hold out, drawn by the seed and written to DIR/held_out.jsonl (default: %(default)s)",
    )
    data.add_argument("--limit", metavar="N", type=positive, help="train on at most so many pairs, drawn by the seed")
    data.add_argument("--max-length", metavar="N", type=positive, default=512, help="leave out longer pairs (default: %(default)s)")
    data.add_argument("--chat", action="store_true", help="put questions into the model's chat template, not Q: ... A: ...")
    training = parser.add_argument_group("training")
    training.add_argument("--rank", metavar="N", type=positive, default=8, help="of the adapter (default: %(default)s)")
    training.add_argument("--alpha", metavar="N", type=positive, default=16, help="LoRA's scale (default: %(default)s)")
    training.add_argument(
        "--targets", metavar="NAME", nargs="+", default=["all-linear"], help="layers to adapt, e.g. q_proj v_proj (default: all)"
    )
    training.add_argument("--learning-rate", metavar="X", type=above_zero, default=5e-4, help="default: %(default)s")
    training.add_argument("--epochs", metavar="N", type=positive, default=3, help="default: %(default)s")
    training.add_argument("--batch-size", metavar="N", type=positive, default=16, help="pairs a step (default: %(default)s)")
    training.add_argument("--micro-batch-size", metavar="N", type=positive, help="pairs in memory at once (default: all of a step)")
    training.add_argument("--seed", metavar="N", type=non_negative, default=0, help="default: %(default)s")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps; default: an accelerator if there is one")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto", help="default: %(default)s")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Train, and print the losses and the directory."""
    if find_spec("peft") is None:
        raise CommandError(
            "counterpoint induce trains an adapter by PEFT, which is not installed: pip install counterpoint[adapters]"
        )
    try:
        pairs, held_out = read_data(arguments)
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from error

    from tqdm import tqdm  # type: ignore[import-untyped]

    from counterpoint.eval import loading  # after the arguments, since these import torch
    from counterpoint.eval.training import induction

    settings = induction.Settings(
        rank=arguments.rank,
        alpha=arguments.alpha,
        targets=tuple(arguments.targets),
        learning_rate=arguments.learning_rate,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        micro_batch_size=arguments.micro_batch_size,
        max_length=arguments.max_length,
        seed=arguments.seed,
        chat=arguments.chat,
    )
    with loading.quiet():
        loaded = loading.load(arguments.model, arguments.device, arguments.dtype, arguments.trust_remote_code)
        with tqdm(desc="training", unit="step", disable=None) as bar:  # None: only on a terminal

            def report(step: int, steps: int, loss: float) -> None:
                bar.total = steps
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update(step - bar.n)

            try:
                induced = induction.induce(
                    loaded.model,
                    loaded.tokenizer,
                    pairs,
                    arguments.output,
                    held_out=held_out,
                    settings=settings,
                    source=Path(arguments.data).name,
                    report=report,
                )
            except (OSError, ValueError) as error:
                raise CommandError(str(error)) from error
    left_out = f" ({induced.too_long} of more than {settings.max_length} tokens left out)" if induced.too_long else ""
    print(f"{len(pairs) - induced.too_long} pairs{left_out}, {induced.steps} steps")
    if induced.loss_before is not None:  # unless all that are held out are too long
        print(f"loss of held-out wrong answers, in nats a token: {induced.loss_before:.3f} before, {induced.loss_after:.3f} after")
    print(arguments.output)
    return 0


def read_data(arguments: argparse.Namespace) -> tuple[list[Pair], list[Pair]]:
    """The pairs to train on, and those held out."""
    pairs: Sequence[Pair] = read_pairs(arguments.data)
    if arguments.exclude is not None:
        pairs = without_questions(pairs, [pair.question for pair in read_pairs(arguments.exclude)])
        if not pairs:
            raise ValueError(f"--exclude {arguments.exclude} has all questions of {arguments.data}: nothing is left to train on")
    train, held_out = split_by_question(pairs, arguments.held_out, arguments.seed)
    if arguments.limit is not None and arguments.limit < len(train):
        train = random.Random(arguments.seed).sample(train, arguments.limit)  # noqa: S311 - no secret
    return train, held_out
