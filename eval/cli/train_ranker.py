"""``counterpoint train-ranker``: train a ranker of continuations from plain texts."""

from __future__ import annotations

import argparse
from pathlib import Path

from counterpoint.eval import EXPERT
from counterpoint.eval.cli.options import above_zero, non_negative, positive
from counterpoint.eval.errors import CommandError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the options of ``counterpoint train-ranker``."""
    parser = subparsers.add_parser(
        "train-ranker",
        help="train a ranker that tells true continuations from others of the same text and from generated ones",
        description="Train an encoder as RankGen was: InfoNCE on prefixes and continuations of plain texts, with continuations of "
        "the same text and generated ones as negatives. The same command again goes on after an interruption. For several "
        "processes: accelerate launch -m counterpoint.eval.cli.main train-ranker ...",
        allow_abbrev=False,
    )
    parser.add_argument("texts", metavar="FILE_OR_DIR", nargs="+", type=Path, help="texts in UTF-8, or folders of .txt files")
    parser.add_argument("--output", metavar="DIR", type=Path, required=True, help="the folder for the ranker")
    parser.add_argument(
        "--model",
        metavar="ID_OR_PATH",
        required=True,
        help="what is trained: a RankGen, a T5 (its encoder), or any encoder that sentence-transformers loads",
    )
    parser.add_argument("--held-out", metavar="FILE_OR_DIR", nargs="+", type=Path, default=[], help="texts to measure accuracy on")
    data = parser.add_argument_group("data")
    data.add_argument("--prefix-words", metavar="N", type=positive, default=256, help="at most (default: %(default)s)")
    data.add_argument(
        "--continuation-words",
        metavar=("MIN", "MAX"),
        nargs=2,
        type=positive,
        default=[10, 128],
        help="at least and at most (default: 10 128)",
    )
    data.add_argument("--passages", metavar="N", type=positive, help="train on at most so many, drawn by the seed")
    data.add_argument(
        "--negatives", metavar="N", type=non_negative, default=1, help="generated ones of each passage (default: %(default)s)"
    )
    data.add_argument(
        "--generator", metavar="ID_OR_PATH", default=str(EXPERT), help="what writes them; default: the embedded expert"
    )
    data.add_argument("--top-p", metavar="P", type=above_zero, default=0.9, help="of their nucleus (default: %(default)s)")
    data.add_argument(
        "--choices", metavar="N", type=positive, default=200, help="held-out prefixes measured (default: %(default)s)"
    )
    data.add_argument(
        "--wrong", metavar="N", type=positive, default=4, help="wrong continuations of each kind in a choice (default: %(default)s)"
    )
    training = parser.add_argument_group("training")
    training.add_argument("--learning-rate", metavar="X", type=above_zero, default=3e-4, help="default: %(default)s")
    training.add_argument("--warmup", metavar="SHARE", type=float, default=0.05, help="share of the steps (default: %(default)s)")
    training.add_argument("--epochs", metavar="N", type=positive, default=1, help="default: %(default)s")
    training.add_argument(
        "--batch-size", metavar="N", type=positive, default=32, help="passages of a text a step and process (default: %(default)s)"
    )
    training.add_argument(
        "--micro-batch-size",
        metavar="N",
        type=positive,
        help="texts in memory at once, by gradient caching (default: all of a step)",
    )
    training.add_argument(
        "--checkpoint-steps", metavar="N", type=positive, default=100, help="steps between checkpoints (default: %(default)s)"
    )
    training.add_argument("--bf16", action="store_true", help="compute in bfloat16; weights stay in float32")
    training.add_argument("--seed", metavar="N", type=non_negative, default=0, help="default: %(default)s")
    parser.add_argument("--half-precision", action="store_true", help="store a T5's weights as float16; they load as float32")
    parser.add_argument("--device", metavar="NAME", help="cpu, or an accelerator for the generator; default: one if there is one")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Train, and print the accuracies and the folder."""
    from counterpoint.rankers.training.passages import read_documents

    try:
        documents, held_out = read_documents(arguments.texts), read_documents(arguments.held_out)
        if twice := documents.keys() & held_out.keys():
            raise ValueError(f"{min(twice)} is both trained on and held out: name it once")
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from error

    from tqdm import tqdm  # type: ignore[import-untyped]

    from counterpoint.eval import loading  # after the arguments, since these import torch
    from counterpoint.rankers.training.contrastive_training import Settings
    from counterpoint.rankers.training.training import Data, train_ranker

    with loading.quiet(), tqdm(unit="step", disable=None) as bar:  # None: only on a terminal

        def report(what: str, done: int, of: int, loss: float | None) -> None:
            bar.set_description(what, refresh=False)
            bar.total = of
            if loss is not None:
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.n = done
            bar.refresh()

        try:
            generator = loading.load(arguments.generator, arguments.device, "auto", False) if arguments.negatives else None
            trained = train_ranker(
                arguments.model,
                documents,
                arguments.output,
                held_out=held_out,
                generator=generator,
                data=Data(
                    prefix_words=arguments.prefix_words,
                    continuation_words=tuple(arguments.continuation_words),
                    passages=arguments.passages,
                    negatives=arguments.negatives,
                    top_p=arguments.top_p,
                    choices=arguments.choices,
                    wrong=arguments.wrong,
                ),
                settings=Settings(
                    learning_rate=arguments.learning_rate,
                    warmup=arguments.warmup,
                    epochs=arguments.epochs,
                    batch_size=arguments.batch_size,
                    micro_batch_size=arguments.micro_batch_size,
                    checkpoint_steps=arguments.checkpoint_steps,
                    bf16=arguments.bf16,
                    seed=arguments.seed,
                ),
                half_precision=arguments.half_precision,
                cpu=arguments.device == "cpu",
                report=report,
            )
        except (ImportError, OSError, ValueError) as error:
            raise CommandError(str(error)) from error
    if trained.main_process:
        print(f"{trained.passages} passages of {len(documents)} texts, {trained.steps} steps")
        for kind, after in trained.after.items():
            print(
                f"true continuation picked from among {arguments.wrong + 1}, {kind.replace('_', '-')}: "
                f"{trained.before[kind]} before, {after} after"
            )
        print(arguments.output)
    return 0
