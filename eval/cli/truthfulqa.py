"""``counterpoint truthfulqa``: MC1, MC2 and MC3, the binary choice, or open answers, of a model under a decoder."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.cli.choice import add_choice_options, add_compare, chosen_decoder, mean_measures, run_choice
from counterpoint.eval.cli.errors import CommandError, UsageError, option_names, usage_errors
from counterpoint.eval.cli.options import add_shared
from counterpoint.eval.journal import Journal
from counterpoint.eval.questions.answer_similarity import against_references
from counterpoint.eval.questions.judges import judge_answers, judged, load_bleurt
from counterpoint.eval.questions.qa_prompts import PRESETS, TEMPLATE, make_preset
from counterpoint.eval.questions.truthfulqa import SAMPLE, Question, find_questions

if TYPE_CHECKING:
    from counterpoint.eval.chat import ChatFormat
    from counterpoint.eval.loading import Loaded
    from counterpoint.eval.questions.choice_task import ChoiceTask

JUDGING = ("truth_judge", "info_judge", "bleurt")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the options of ``counterpoint truthfulqa``."""
    parser = subparsers.add_parser(
        "truthfulqa",
        help="score TruthfulQA's answers under a decoder",
        description="MC1, MC2 and MC3 of TruthfulQA, or its binary choice, by how likely a decoder finds the answers; or its open "
        "answers, by BLEU and ROUGE against the references. "
        "Without --file it runs on a small sample of our own writing. Started again after a kill it goes on where it stopped.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--file",
        metavar="FILE_OR_ID",
        default=str(SAMPLE),
        help="TruthfulQA.csv, or the name of a data set on the hub (default: a small sample of our own writing)",
    )
    parser.add_argument(
        "--task",
        choices=("mc", "binary", "generation"),
        default="mc",
        help="MC1 to MC3, the best answer against the best incorrect one, or open answers by BLEU and ROUGE under any decoder "
        "(default: mc)",
    )
    parser.add_argument(
        "--preset",
        metavar="NAME",
        default="own",
        help="prompt around a question (default: own). " + "; ".join(f"{name}: {summary}" for name, summary in PRESETS.items()),
    )
    parser.add_argument(
        "--primer", metavar="FILE", type=Path, help="demonstrations before the question, for presets original and dola"
    )
    parser.add_argument("--instruction", metavar="FILE", type=Path, help="text before the demonstrations, for preset dola")
    add_shared(parser, "--seed")
    add_choice_options(parser, "truthfulqa", "auto for preset plain, else none")
    parser.set_defaults(chat_template=None)
    group = parser.add_argument_group("judges of open answers (--task generation)")
    group.add_argument("--truth-judge", metavar="ID_OR_PATH", help="a model that says whether an answer is true; with --info-judge")
    group.add_argument("--info-judge", metavar="ID_OR_PATH", help="a model that says whether an answer is informative")
    group.add_argument("--bleurt", metavar="DIR", help="a checkpoint of BLEURT")
    add_compare(parser, ask)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark, or the command of it that was chosen."""
    code: int = arguments.questions(arguments)
    return code


def ask(arguments: argparse.Namespace) -> int:
    """Score the questions, and write ``results.json`` and a file with the results of each question."""
    generate = arguments.task == "generation"
    chosen_decoder(arguments, scoring=not generate)  # its errors come first
    check_judges(arguments)
    files = ("preset", "primer", "instruction")
    with option_names(*files), usage_errors(*files):
        preset = make_preset(arguments.preset, arguments.primer, arguments.instruction, chat_template=False)
    arguments.chat_template = arguments.chat_template or TEMPLATE.get(preset.name, "none")
    if arguments.thinking == "cut" and not generate:
        raise UsageError("--thinking cut is of what is generated: add --task generation, or take --thinking off")
    try:
        data = find_questions(arguments.file)
    except (ImportError, OSError, ValueError) as error:
        raise CommandError(f"--file {error}") from error

    def make(loaded: Loaded, spec: DecoderSpec, chats: ChatFormat) -> ChoiceTask:
        from counterpoint.eval.questions.truthfulqa_task import TruthfulQATask  # imports torch

        return TruthfulQATask(loaded, spec, preset, arguments.task, arguments.renormalise, arguments.seed, chats)

    facts = {
        "task": arguments.task,
        "data": {"path": data.source, "sha256": data.sha256, "questions": len(data.questions), "release": data.version},
        **preset.describe(),
        "seed": arguments.seed,
        **({"judges": {name: vars(arguments)[name] for name in JUDGING}} if generate else {}),
    }
    return run_choice(arguments, data.questions, make, facts, generate, partial(judgements, arguments) if generate else None)


def check_judges(arguments: argparse.Namespace) -> None:
    """Refuse judges where nothing is generated, and one of the two judges without the other."""
    given = [name for name in JUDGING if vars(arguments)[name]]
    if given and arguments.task != "generation":
        raise UsageError(f"--{given[0].replace('_', '-')} judges answers that the model writes: add --task generation")
    if len({"truth_judge", "info_judge"} & {*given}) == 1:
        raise UsageError("--truth-judge and --info-judge go together: an answer that says nothing is true")
    if arguments.bleurt:
        load_bleurt(arguments.bleurt)  # before anything is generated


def judgements(
    arguments: argparse.Namespace, questions: Sequence[Question], records: Sequence[Mapping[str, Any]], journal: Journal
) -> dict[str, float]:
    """Measures by the judges and by BLEURT, as far as they are given."""
    from counterpoint.eval.loading import load  # imports torch

    metrics: dict[str, float] = {}
    if arguments.bleurt:
        similarity = load_bleurt(arguments.bleurt)
        metrics |= mean_measures(
            [against_references(r["answer"], q.true, q.false, similarity) for q, r in zip(questions, records, strict=True)]
        )
    if arguments.truth_judge:
        options = (arguments.device, arguments.dtype, arguments.trust_remote_code)
        truth = judge_answers(load(arguments.truth_judge, *options), "truth", records, journal, arguments.quiet)
        info = judge_answers(load(arguments.info_judge, *options), "info", records, journal, arguments.quiet)
        metrics |= judged(truth, info)
    return metrics
