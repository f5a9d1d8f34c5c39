"""``counterpoint truthfulqa``: MC1, MC2 and MC3, or the binary choice, of a model under a decoder."""

from __future__ import annotations

import argparse
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from counterpoint.eval import EXPERT
from counterpoint.eval.decoder_arguments import parse_decoder
from counterpoint.eval.errors import CommandError
from counterpoint.eval.generate_command import non_negative, positive
from counterpoint.eval.journal import Journal
from counterpoint.eval.qa_prompts import PRESETS, make_preset
from counterpoint.eval.truthfulqa import SAMPLE, find_questions, mean_measures


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the options of ``counterpoint truthfulqa``."""
    parser = subparsers.add_parser(
        "truthfulqa",
        help="score TruthfulQA's answers under a decoder",
        description="MC1, MC2 and MC3 of TruthfulQA, or its binary choice, by how likely a decoder finds the answers. "
        "Without --data it runs on a small sample of our own writing. Started again after a kill it goes on where it stopped.",
        allow_abbrev=False,
    )
    parser.add_argument("--model", metavar="ID_OR_PATH", default=str(EXPERT), help="default: the embedded expert")
    parser.add_argument(
        "--decoder",
        nargs="+",
        metavar=("NAME", "key=value"),
        default=["greedy"],
        help="the decoder and its parameters, as for generate; greedy is the model itself (the default). Plausible sets are off "
        "unless alpha=... is given, as in released scoring code",
    )
    parser.add_argument(
        "--data",
        metavar="FILE_OR_ID",
        default=str(SAMPLE),
        help="TruthfulQA.csv, or a data set of the hub; default: our own sample",
    )
    parser.add_argument("--task", choices=("mc", "binary"), default="mc", help="MC1 to MC3, or best against best incorrect answer")
    parser.add_argument(
        "--preset", metavar="NAME", default="own", help="; ".join(f"{name}: {summary}" for name, summary in PRESETS.items())
    )
    parser.add_argument("--primer", metavar="FILE", type=Path, help="demonstrations, for presets original and dola")
    parser.add_argument("--instruction", metavar="FILE", type=Path, help="the text before them, for preset dola")
    parser.add_argument(
        "--chat-template", action="store_true", help="give the prompt as a user's turn in the model's chat template"
    )
    parser.add_argument(
        "--no-renormalise",
        dest="renormalise",
        action="store_false",
        help="sum the contrast ln p - ln q itself, as released code does, not the probability that it defines",
    )
    parser.add_argument("--limit", metavar="N", type=positive, help="only the first N questions")
    parser.add_argument("--seed", metavar="N", type=non_negative, default=0, help="of the binary choice's order (default: 0)")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps; default: an accelerator if there is one")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto", help="default: %(default)s")
    parser.add_argument("--output-dir", metavar="DIR", type=Path, default=Path("truthfulqa"), help="default: %(default)s")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Score, and write ``results.json`` and a file of the questions' results."""
    choice = parse_decoder(arguments.decoder, scoring=True)
    preset = make_preset(arguments.preset, arguments.primer, arguments.instruction, arguments.chat_template)
    data = find_questions(arguments.data)
    questions = data.questions[: arguments.limit]

    from counterpoint.eval import loading, truthfulqa_run  # after the arguments, since these import torch

    with loading.quiet():
        loaded = loading.load(arguments.model, arguments.device, arguments.dtype, arguments.trust_remote_code)
        task = truthfulqa_run.Task(loaded, choice, preset, arguments.task, arguments.renormalise, arguments.seed)
        try:
            journal = Journal(arguments.output_dir / f"questions-{task.key}.jsonl")
            records = truthfulqa_run.answer(task, questions, journal)
        except (OSError, ValueError) as error:
            raise CommandError(str(error)) from error
    results: dict[str, Any] = {
        "task": arguments.task,
        "metrics": mean_measures([record["measures"] for record in records]),
        "questions": len(records),
        "answers": sum(len(record["scores"]) for record in records),
        "banned_answers": sum(value is None for record in records for value in record["scores"].values()),
        "data": {"path": data.source, "sha256": data.sha256, "questions": len(data.questions), "release": data.version},
        **preset.describe(),
        "decoder": choice.decoder.name,
        "parameters": dict(choice.values),
        "renormalised": arguments.renormalise,
        "scores": "log-probabilities" if arguments.renormalise or not choice.decoder.contrast else "unnormalised contrast",
        "seed": arguments.seed,
        "model": loaded.name,
        "weights_sha256": task.weights,
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "device": str(loaded.model.device),
        "versions": {name: version(name) for name in ("counterpoint", "transformers", "torch")}
        | {"python": platform.python_version()},
        "question_results": journal.path.name,
    }
    path = arguments.output_dir / "results.json"
    path.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print_results(results, path)
    return 0


def print_results(results: dict[str, Any], path: Path) -> None:
    """The measures, and what they are measures of."""
    for name, value in results["metrics"].items():
        print(f"{name:<8}{value:.4f}")
    print(f"{results['questions']} questions ({results['data']['release']}), preset {results['preset']}, {results['scores']}")
    if results["banned_answers"]:
        print(f"{results['banned_answers']} of {results['answers']} answers have a token that the decoder bans: they beat no other")
    print(path)
