"""TruthfulQA's multiple choice on all questions: greedy, DoLa, SLED, and amateurs that were taught other questions' wrong answers.

Usage: ``python truthfulqa.py --model MODEL --file TruthfulQA.csv --primer primer.txt --output-dir DIR``

The amateurs are two: the categories are dealt into two halves, each half's incorrect answers train one (``counterpoint induce``),
and it is scored on the other half. So all questions are asked, and no amateur has seen an answer of a question's category. Each
decoder runs by ``counterpoint truthfulqa`` with the benchmark's own demonstrations, contrasts also as the sum of ln p - ln q that
released code reports (``released``). Writes ``truthfulqa.md``: the measures with their intervals, and how each decoder's differ
from greedy's on the same questions, with intervals and p-values of paired tests, Holm's adjustment over all. What an earlier run
has done is found in ``--output-dir`` and not done again.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from counterpoint.eval.cli.main import main as counterpoint
from counterpoint.eval.questions.results import Results, comparisons, half_width, measures, read_results

LAYERS = (("dola-low", "dola:layers=low"), ("dola-high", "dola:layers=high"))
NORMALISED, RELEASED = "normalised", "released"
DECODERS = {
    NORMALISED: (("greedy", "greedy"), *LAYERS, ("sled", "sled")),
    RELEASED: (*LAYERS, ("sled", "released_sled")),
}
"""Folders and decoders of each form of scores."""
HALVES = ("first", "second")
INDUCED = "induce_then_contrast"
PAIRS = 500
"""Wrong answers that each amateur is taught."""


def halves(file: Path) -> list[list[dict[str, str]]]:
    """The questions in two parts of like size, each category whole in one of them."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        questions = list(csv.DictReader(lines))
    parts: list[list[dict[str, str]]] = [[], []]
    for category, _ in Counter(each["Category"] for each in questions).most_common():
        min(parts, key=len).extend(each for each in questions if each["Category"] == category)
    return parts


def write(file: Path, questions: Sequence[dict[str, str]]) -> None:
    """The same columns, some of the questions."""
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(questions[0]))
        writer.writeheader()
        writer.writerows(questions)


def run(*words: object) -> None:
    """The command line; its error ends this script."""
    if code := counterpoint([str(word) for word in words]):
        raise SystemExit(code)


def joined(found: Sequence[Results], label: str) -> Results:
    """The results of several parts of the questions as those of one decoder."""
    questions = {name: own for each in found for name, own in each["by_question"].items()}
    names = next(iter(questions.values()))
    means = {name: sum(own[name] for own in questions.values()) / len(questions) for name in names}
    return {**found[0], "label": label, "questions": len(questions), "metrics": means, "by_question": questions}


def table(results: Sequence[Results]) -> str:
    """A row for each decoder: measures in percent, and their differences from the first's."""
    names, tests = measures(results), comparisons(results)
    lines = ["| decoder | " + " | ".join([*names, *(f"{name}, difference" for name in names)]) + " |"]
    lines.append("|---" * (1 + 2 * len(names)) + "|")
    for place, each in enumerate(results):
        own = [f"{100 * each['metrics'][name]:.1f} ± {100 * (half_width(each, name) or 0):.1f}" for name in names]
        found = [tests.get((place, name)) for name in names]
        differences = [
            f"{100 * test['difference']:+.1f} ({100 * test['interval'][0]:+.1f} to {100 * test['interval'][1]:+.1f}), "
            f"p = {test['p_adjusted']:.4f}"
            if test
            else ""
            for test in found
        ]
        lines.append(f"| {' | '.join([each['label'], *own, *differences])} |")
    return "\n".join([*lines, "", f"{results[0]['questions']} questions; {results[0]['model']}, {results[0]['dtype']}.", ""])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--file", type=Path, required=True, help="TruthfulQA.csv of 817 questions")
    parser.add_argument("--primer", type=Path, required=True, help="the benchmark's six demonstrations")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--forms", nargs="+", choices=[*DECODERS], default=[*DECODERS], help="the normalised ones come first")
    parser.add_argument("--output-dir", type=Path, default=Path("truthfulqa"))
    arguments = parser.parse_args()
    directory = arguments.output_dir
    directory.mkdir(parents=True, exist_ok=True)
    model = ("--model", arguments.model, "--dtype", arguments.dtype)
    asked = (*model, "--preset", "original", "--primer", arguments.primer)

    def score(file: Path, name: str, decoder: str, form: str) -> Results:
        """A decoder's results, as log-probabilities or as released code sums them."""
        where = directory / (f"{name}-released" if form == RELEASED else name)
        if not (where / "results.json").exists():
            sums = ["--no-renormalise"] if form == RELEASED else []
            run("truthfulqa", *asked, "--file", file, "--decoder", decoder, *sums, "--output-dir", where)
        return {**read_results([where])[0], "label": where.name}

    def induced(form: str) -> Results:
        """The results on each half by the amateur that the other half has taught."""
        parts = []
        for name, other in zip(HALVES, reversed(HALVES), strict=True):
            own = f"{INDUCED}:amateur_adapter={directory / f'amateur-{other}'}"
            parts.append(score(directory / f"{name}.csv", f"{INDUCED}-{name}", own, form))
        return joined(parts, parts[0]["label"].replace(f"-{HALVES[0]}", ""))

    for name, questions in zip(HALVES, halves(arguments.file), strict=True):
        write(directory / f"{name}.csv", questions)
        amateur = directory / f"amateur-{name}"
        if not (amateur / "adapter_model.safetensors").exists():
            run("induce", *model, "--file", directory / f"{name}.csv", "--output-dir", amateur, "--epochs", 2, "--limit", PAIRS)
    found = []
    for form in arguments.forms:
        found += [score(arguments.file, name, decoder, form) for name, decoder in DECODERS[form]]
        found.append(induced(form))
    text = table(found)
    (directory / "truthfulqa.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
