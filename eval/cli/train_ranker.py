"""``counterpoint train-ranker``: train a ranker of continuations from plain texts."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

from counterpoint.eval import EXPERT
from counterpoint.eval.cli.errors import UsageError, file_errors, option_names
from counterpoint.eval.cli.options import above_zero, add_shared, at_least, below_one, non_negative, positive, probability

KEPT = "{done}; what was written and the last checkpoint are kept"
"""What is said after Ctrl-C."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the options of ``counterpoint train-ranker``."""
    parser = subparsers.add_parser(
        "train-ranker",
        help="train a ranker that tells true continuations from others of the same text and from generated ones",
        description="Train an encoder as RankGen was: InfoNCE on prefixes and continuations of plain texts, with continuations of "
        "the same text and generated ones as negatives. After an interruption, the same command goes on. For several processes: "
        "accelerate launch -m counterpoint.eval.cli train-ranker ...",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--file", metavar="FILE_OR_DIR", nargs="+", type=Path, required=True, help="texts in UTF-8, or folders of .txt files"
    )
    add_shared(parser, "--output-dir", required=True)
    add_shared(
        parser,
        "--model",
        default=None,
        required=True,
        help="the encoder to train: a RankGen, a T5, or any encoder that sentence-transformers loads",
    )
    parser.add_argument(
        "--held-out-file", metavar="FILE_OR_DIR", nargs="+", type=Path, default=[], help="other texts, to measure accuracy on"
    )
    add_shared(
        parser,
        "--device",
        help="cpu for all of it, or where the generator computes (default: an accelerator if the machine has one)",
    )
    add_shared(parser, "--json", "--quiet")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--prefix-words", metavar="N", type=positive, default=256, help="words of a prefix at most (default: %(default)s)"
    )
    data.add_argument(
        "--continuation-words",
        metavar=("MIN", "MAX"),
        nargs=2,
        type=positive,
        default=[10, 128],
        help="words of a continuation at least and at most (default: 10 128)",
    )
    add_shared(data, "--limit", dest="passages", help="train on at most N passages, drawn by --seed (default: all of them)")
    data.add_argument(
        "--negatives",
        metavar="N",
        type=non_negative,
        default=1,
        help="generated continuations of each passage (default: %(default)s)",
    )
    data.add_argument(
        "--generator",
        metavar="ID_OR_PATH",
        default=str(EXPERT),
        help="the language model that writes the negatives (default: the embedded expert)",
    )
    data.add_argument(
        "--top-p", metavar="P", type=probability, default=0.9, help="nucleus that negatives are drawn from (default: %(default)s)"
    )
    data.add_argument(
        "--choices", metavar="N", type=positive, default=200, help="held-out prefixes to measure on, at most (default: %(default)s)"
    )
    data.add_argument(
        "--wrong", metavar="N", type=positive, default=4, help="wrong continuations of each kind in a choice (default: %(default)s)"
    )
    training = parser.add_argument_group("training")
    training.add_argument(
        "--learning-rate",
        metavar="X",
        type=above_zero,
        default=3e-4,
        help="largest step size of the optimiser (default: %(default)s)",
    )
    training.add_argument(
        "--warmup", metavar="SHARE", type=below_one, default=0.05, help="share of the steps that warm up (default: %(default)s)"
    )
    training.add_argument("--epochs", metavar="N", type=positive, default=1, help="passes over the passages (default: %(default)s)")
    training.add_argument(
        "--batch-size",
        metavar="N",
        type=partial(at_least, 2),
        default=32,
        help="passages of a text in a step and process (default: %(default)s)",
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
    training.add_argument("--half-precision", action="store_true", help="store a T5's weights as float16; they load as float32")
    add_shared(training, "--seed")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Train the ranker, and print its accuracies and the folder."""
    from counterpoint.rankers.training.passages import check_passages, read_documents

    if arguments.continuation_words[0] > arguments.continuation_words[1]:
        raise UsageError(f"--continuation-words {' '.join(map(str, arguments.continuation_words))}: the least, and then the most")
    if arguments.passages == 1:
        raise UsageError("--limit 1: a passage is told from others, so that 2 are the least")
    with file_errors("--file"):
        documents = read_documents(arguments.file)
    with file_errors("--held-out-file"):
        held_out = read_documents(arguments.held_out_file)
    if twice := documents.keys() & held_out.keys():
        raise UsageError(f"{min(twice)} is both trained on and held out; name it once")
    check_passages(
        documents, prefix_words=arguments.prefix_words, continuation_words=tuple(arguments.continuation_words), seed=arguments.seed
    )

    from counterpoint.eval import loading  # after the arguments, since these import torch
    from counterpoint.eval.progress import progress_bar
    from counterpoint.eval.training.ranker_training import Data, train_ranker
    from counterpoint.rankers.training.contrastive_training import Settings

    with loading.quiet(), progress_bar("step", quiet=arguments.quiet, kept=KEPT) as bar:

        def report(what: str, done: int, of: int, loss: float | None) -> None:
            bar.describe(what)
            if loss is not None:
                bar.tell(f"loss={loss:.3f}")
            bar.reach(done, of)

        with option_names("device"):
            generator = loading.load(arguments.generator, arguments.device, "auto", False) if arguments.negatives else None
        trained = train_ranker(
            arguments.model,
            documents,
            arguments.output_dir,
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
    if trained.main_process and arguments.json:
        print(json.dumps({**asdict(trained), "candidates": arguments.wrong + 1, "output_dir": str(arguments.output_dir)}))
    elif trained.main_process and not arguments.quiet:
        print(f"{trained.passages} passages of {len(documents)} texts, {trained.steps} steps")
        for kind, after in trained.after.items():
            print(
                f"true continuation picked from among {arguments.wrong + 1}, {kind.replace('_', '-')}: "
                f"{trained.before[kind]} before, {after} after"
            )
        print(arguments.output_dir)
    return 0
