"""``counterpoint truthfulqa``: MC1, MC2 and MC3, the binary choice, or open answers, of a model under a decoder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoint.eval.choice_command import add_choice_options, run_choice
from counterpoint.eval.decoder_arguments import Choice, parse_decoder
from counterpoint.eval.generate_command import non_negative
from counterpoint.eval.qa_prompts import PRESETS, make_preset
from counterpoint.eval.truthfulqa import SAMPLE, find_questions

if TYPE_CHECKING:
    from counterpoint.eval.choice_task import ChoiceTask
    from counterpoint.eval.loading import Loaded


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the options of ``counterpoint truthfulqa``."""
    parser = subparsers.add_parser(
        "truthfulqa",
        help="score TruthfulQA's answers under a decoder",
        description="MC1, MC2 and MC3 of TruthfulQA, or its binary choice, by how likely a decoder finds the answers; or its open "
        "answers, by BLEU and ROUGE against the references. "
        "Without --data it runs on a small sample of our own writing. Started again after a kill it goes on where it stopped.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--data",
        metavar="FILE_OR_ID",
        default=str(SAMPLE),
        help="TruthfulQA.csv, or a data set of the hub; default: our own sample",
    )
    parser.add_argument(
        "--task",
        choices=("mc", "binary", "generation"),
        default="mc",
        help="MC1 to MC3, best against best incorrect answer, or open answers by BLEU and ROUGE under any decoder",
    )
    parser.add_argument(
        "--preset", metavar="NAME", default="own", help="; ".join(f"{name}: {summary}" for name, summary in PRESETS.items())
    )
    parser.add_argument("--primer", metavar="FILE", type=Path, help="demonstrations, for presets original and dola")
    parser.add_argument("--instruction", metavar="FILE", type=Path, help="the text before them, for preset dola")
    parser.add_argument(
        "--chat-template", action="store_true", help="give the prompt as a user's turn in the model's chat template"
    )
    parser.add_argument(
        "--seed", metavar="N", type=non_negative, default=0, help="of the binary choice's order and samplers (default: 0)"
    )
    add_choice_options(parser, "truthfulqa")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Score, and write ``results.json`` and a file of the questions' results."""
    generate = arguments.task == "generation"
    parse_decoder(arguments.decoder, scoring=not generate)  # its errors come first
    preset = make_preset(arguments.preset, arguments.primer, arguments.instruction, arguments.chat_template)
    data = find_questions(arguments.data)

    def make(loaded: Loaded, choice: Choice) -> ChoiceTask:
        from counterpoint.eval.truthfulqa_task import TruthfulQATask  # imports torch

        return TruthfulQATask(loaded, choice, preset, arguments.task, arguments.renormalise, arguments.seed)

    facts = {
        "task": arguments.task,
        "data": {"path": data.source, "sha256": data.sha256, "questions": len(data.questions), "release": data.version},
        **preset.describe(),
        "seed": arguments.seed,
    }
    return run_choice(arguments, data.questions, make, facts, generate)
