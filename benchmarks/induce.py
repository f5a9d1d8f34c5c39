"""Does contrast with an induced hallucinator make a model more truthful? TruthfulQA's multiple choice on held-out questions.

Usage: ``python induce.py --file TruthfulQA.csv --primer primer.txt --work DIR --output-dir results MODEL [MODEL ...]``

Half of the questions, drawn by the seed, train two LoRA adapters: one on their incorrect answers, and as a control one on their
correct answers. Questions of the other half are scored by the model, by induce-then-contrast with either adapter, and by
multi-layer fusion. An answer's score is the sum over its tokens of the contrast's scores (no plausible set, as in the released code
of induce-then-contrast), where it says so normalised to log-probabilities first. Then, over the answers to a question,

    MC1 = [s(best) > max_false s]    MC2 = sum_true e^s / sum_all e^s    MC3 = mean_true [s(t) > max_false s]

With ``--shift N`` the answers are scored after another question, N places further: what is left is what their wording alone gives
away. Standard errors are those of 1000 bootstrap samples of the questions; differences to the model alone are paired. Training goes
on where an interrupted run left it, from ``--work``. Adds to ``induce.json`` and prints its figures as tables.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from counterpoint.decoders import (
    AdapterAmateur,
    ContrastiveDecodingLogitsProcessor,
    LayerFusionLogitsProcessor,
    PromptAmateur,
    log_ratio,
)
from counterpoint.decoders.base import DistributionProcessor, SideOutputs
from counterpoint.decoders.forwards.layers import depth_of
from counterpoint.decoders.forwards.text_batches import batches, encode
from counterpoint.decoders.forwards.text_forward import forward_texts
from counterpoint.decoders.scoring import Scorer
from counterpoint.decoders.text_outputs import TextOutputs
from counterpoint.eval.questions.truthfulqa import Question, read_questions
from counterpoint.eval.training.induction import Settings, induce
from counterpoint.eval.training.wrong_answers import Pair

GUIDE = "Answer truthfully. Do not repeat myths, rumours or sayings as if they were facts.\n\n"
FORM = partial(log_ratio, beta=1.0)
BOOTSTRAP = 1000
MODEL, CHANCE = "the model", "chance"
MEASURES = ("mc1", "mc2", "mc3")


def chance(question: Question) -> dict[str, float]:
    """What scores that tell nothing are worth: any answer the first, all alike likely."""
    true, false = len(question.true), len(question.false)
    return {"mc1": 1 / (1 + false), "mc2": true / (true + false), "mc3": 1 / (1 + false)}


class Methods:
    """The methods, each from the same readings of the texts: by the model, by it with either adapter, and under the guide."""

    def __init__(self, adapted: PeftModel, guided: dict[str, Tensor], depth: float) -> None:
        adapted.base_model.disable_adapter_layers()
        self.model = adapted.get_base_model()
        self.wrong, self.right = AdapterAmateur(adapted, adapter="false"), AdapterAmateur(adapted, adapter="true")
        self.guide = PromptAmateur(self.model, guided)
        self.layer = round(depth * depth_of(self.model))
        fusion = partial(
            LayerFusionLogitsProcessor,
            self.model,
            self.wrong,
            [self.layer],
            guide=self.guide,
            alpha=0.0,
            form=FORM,
            final_norm=True,
        )
        self.contrasts: dict[str, DistributionProcessor] = {
            "ICD": ContrastiveDecodingLogitsProcessor(self.wrong, alpha=0.0, form=FORM),
            "LOL, fusion 0.5": fusion(fusion_weight=0.5),
            "LOL, refocus 0.5": fusion(fusion_weight=0.0, refocus_weight=0.5),
            "LOL, fusion 0.5, refocus 0.5": fusion(fusion_weight=0.5, refocus_weight=0.5),
            "control: ICD against correct answers": ContrastiveDecodingLogitsProcessor(self.right, alpha=0.0, form=FORM),
        }

    def scores(self, outputs: SideOutputs, own: Tensor) -> dict[str, Tensor]:
        """Scores [positions, vocabulary]."""
        wrong, right, guide = (outputs.logits(amateur).log_softmax(-1) for amateur in (self.wrong, self.right, self.guide))
        found = {MODEL: own, "the model under the guide": guide, "the amateur alone": wrong}
        for name, contrast in self.contrasts.items():
            found[name] = contrast.process(outputs, own)
            found[f"{name}, normalised"] = found[name].log_softmax(-1)
        found["control: the adapter of correct answers alone"] = right
        found["control: adapter of correct answers against that of incorrect ones"] = FORM(right, wrong)
        return found


@torch.no_grad()
def score(
    methods: Methods, tokenizer: Any, questions: Sequence[Question], prompts: Sequence[str]
) -> dict[str, list[dict[str, float]]]:
    """For each method and question the score of every answer, after its prompt."""
    model = methods.model
    scorer = Scorer(model, list(methods.contrasts.values()), renormalise=False, banned=-float("inf"))
    answers = [(number, answer) for number, question in enumerate(questions) for answer in question.answers()]
    encoded = [encode(model, tokenizer, prompts[number], [f" {answer}"])[0] for number, answer in answers]
    pairs = [(number, *tokens) for (number, _), tokens in zip(answers, encoded, strict=True)]
    waiting = iter(answers)
    layers = [layer for tap in scorer.taps if tap.owner is None for layer in tap.layers]
    results: dict[str, list[dict[str, float]]] = {}
    with tqdm(total=len(pairs), desc="scoring", unit="answer", disable=None) as bar:
        for texts in batches(pairs, len(questions), scorer.start, batch_tokens=64):
            own = forward_texts(scorer.prefix, texts, texts.positions, layers)
            outputs = TextOutputs(model, texts, own, scorer.taps)
            batch = list(islice(waiting, len(texts.numbers)))
            for name, scores in methods.scores(outputs, own.logits.float().log_softmax(-1)).items():
                kept = results.setdefault(name, [{} for _ in questions])
                for (number, answer), rows, tokens in zip(batch, texts.where, texts.continuations, strict=True):
                    kept[number][answer] = float(scores[rows, list(tokens)].sum())
            bar.update(len(batch))
    return results


def prompt(question: Question, before: str) -> str:
    """The text that an answer follows."""
    return f"{before}\n\nQ: {question.text}\nA:"


def drawn(items: Sequence[Any], most: int, seed: int) -> list[Any]:
    """At most so many of the items, in random order."""
    return random.Random(seed).sample(items, min(most, len(items)))  # noqa: S311 - no secret


def train(name: str, pairs: list[Pair], held_out: list[Pair], folder: Path, settings: Settings) -> dict[str, Any]:
    """An adapter in a folder, from the checkpoint there or finished before, and what it took."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32), AutoTokenizer.from_pretrained(name)
    with tqdm(desc=folder.name, unit="step", disable=None) as bar:

        def report(step: int, steps: int, loss: float) -> None:
            bar.total = steps
            bar.update(step - bar.n)

        induced = induce(model, tokenizer, pairs, folder, held_out=held_out, settings=settings, report=report)
    return {"pairs": len(pairs), **{key: getattr(induced, key) for key in ("steps", "loss_before", "loss_after")}}


def experiment(name: str, questions: Sequence[Question], primer: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train both adapters on one half, score the other half."""
    shuffled = drawn(questions, len(questions), arguments.seed)
    half = len(shuffled) // 2
    training, held_out = shuffled[:half], shuffled[half : half + arguments.questions]
    folder = arguments.work / Path(name).name
    adapters = {}
    for kind in ("false", "true"):
        found = [[Pair(each.text, answer) for each in among for answer in getattr(each, kind)] for among in (training, held_out)]
        examples, measured = (drawn(pairs, most, arguments.seed) for pairs, most in zip(found, (arguments.pairs, 200), strict=True))
        adapters[kind] = train(name, examples, measured, folder / kind, Settings(epochs=arguments.epochs, seed=arguments.seed))

    tokenizer = AutoTokenizer.from_pretrained(name)
    base = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32).eval()
    adapted = PeftModel.from_pretrained(base, str(folder / "false"), adapter_name="false")
    adapted.load_adapter(str(folder / "true"), adapter_name="true")
    asked = [held_out[(number + arguments.shift) % len(held_out)] for number in range(len(held_out))]
    guided = [prompt(question, GUIDE + primer) for question in asked]
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    methods = Methods(adapted.eval(), tokenizer(guided, return_tensors="pt", padding=True, padding_side="left"), arguments.depth)
    start = time.perf_counter()
    results = {
        method: [question.measures(scores) for scores, question in zip(values, held_out, strict=True)]
        for method, values in score(methods, tokenizer, held_out, [prompt(question, primer) for question in asked]).items()
    }
    seconds = time.perf_counter() - start
    results = {MODEL: results.pop(MODEL), CHANCE: [chance(question) for question in held_out], **results}
    return {
        "model": Path(name).name,
        "shift": arguments.shift,
        "adapters": adapters,
        "questions": len(held_out),
        "layer": methods.layer,
        "layers": depth_of(base),
        "settings": {key: getattr(arguments, key) for key in ("seed", "epochs", "pairs", "threads")},
        "seconds_of_scoring": seconds,
        "methods": {method: summary(values, results[MODEL]) for method, values in results.items()},
    }


def summary(values: Sequence[dict[str, float]], base: Sequence[dict[str, float]]) -> dict[str, list[list[float]]]:
    """In percent, mean and standard error of MC1, MC2 and MC3, and of their differences to the model's."""
    scores, before = (
        100 * torch.tensor([[row[name] for row in rows] for name in MEASURES], dtype=torch.float64) for rows in (values, base)
    )
    picks = torch.randint(scores.shape[1], (BOOTSTRAP, scores.shape[1]), generator=torch.Generator().manual_seed(0))

    def estimates(rows: Tensor) -> list[list[float]]:
        return [[float(row.mean()), float(row[picks].mean(dim=1).std())] for row in rows]

    return {"scores": estimates(scores), "changes": estimates(scores - before)}


def table(result: dict[str, Any]) -> str:
    """Markdown of one model's results."""
    false, true = result["adapters"]["false"], result["adapters"]["true"]
    lines = [
        f"## {result['model']}{', answers after other questions' if result['shift'] else ''}",
        "",
        f"Adapter of incorrect answers: {false['pairs']} pairs, {false['steps']} steps, loss of held-out incorrect answers "
        f"{false['loss_before']:.3f} before, {false['loss_after']:.3f} after (nats a token). Control, of correct answers: "
        f"{true['pairs']} pairs, {true['steps']} steps, loss of held-out correct answers {true['loss_before']:.3f} before, "
        f"{true['loss_after']:.3f} after. {result['questions']} held-out questions; lower layer {result['layer']} of "
        f"{result['layers']}; scoring took {result['seconds_of_scoring']:.0f} s.",
        "",
        "| | MC1 | MC2 | MC3 | change of MC1 | of MC2 | of MC3 |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, figures in result["methods"].items():
        cells = [f"{mean:.1f} ± {error:.1f}" for mean, error in figures["scores"]]
        cells += ["", "", ""] if method in (MODEL, CHANCE) else [f"{mean:+.1f} ± {error:.1f}" for mean, error in figures["changes"]]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="model folders or ids")
    parser.add_argument("--file", type=Path, required=True, help="TruthfulQA.csv")
    parser.add_argument("--primer", type=Path, required=True, help="the benchmark's six question/answer pairs")
    parser.add_argument("--work", type=Path, required=True, help="folder for the adapters")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for induce.json")
    parser.add_argument("--pairs", type=int, default=1000, help="to train on, at most")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--questions", type=int, default=200, help="questions of the held-out half")
    parser.add_argument("--depth", type=float, default=0.8, help="of the lower layer, as a share of all layers")
    parser.add_argument("--shift", type=int, default=0, help="score answers after the question so many places further")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    questions, primer = read_questions(arguments.file).questions, arguments.primer.read_text(encoding="utf-8").strip()
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    path = arguments.output_dir / "induce.json"
    for name in arguments.models:
        result = experiment(name, questions, primer, arguments)
        results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        path.write_text(json.dumps([*results, result], indent=1) + "\n", encoding="utf-8")
        print(table(result))


if __name__ == "__main__":
    main()
