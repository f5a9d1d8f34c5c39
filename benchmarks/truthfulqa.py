"""TruthfulQA's answers scored by ``counterpoint.decoders.score`` and by one forward for each answer, on one machine.

Usage: ``python truthfulqa.py --model PATH --file TruthfulQA.csv --primer primer.txt --limit 8 --output-dir DIR``

The reference is what published scripts do: prompt and answer in one forward, logits of all positions, the answer's picked out; for
DoLa the hidden states of the same forward, unembedded at the answer's positions; for contrastive decoding a second forward by the
amateur. It uses nothing of the library but for the choice of questions. Both sides score the same answers in turn, question after
question, and must agree: in float32 up to the rounding of a model's layers, and on one question with float64 weights, where what is
left is the rounding of the library's own float32 arithmetic. Writes ``truthfulqa.json`` and ``truthfulqa.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from counterpoint.decoders import ContrastiveDecodingLogitsProcessor, DoLaLogitsProcessor
from counterpoint.decoders.forwards.text_batches import batches, encode
from counterpoint.decoders.scoring import Scorer
from counterpoint.eval.questions.qa_prompts import make_preset
from counterpoint.eval.questions.truthfulqa import SAMPLE, read_questions

Reference = Callable[[Tensor, int], Tensor]
"""From ids ``[1, length]`` and the answer's first position, its tokens' scores by the whole vocabulary."""


def plain(model: Any) -> Reference:
    """The model: ln p."""
    return lambda ids, start: model(ids, use_cache=False).logits[0, start - 1 : -1].log_softmax(dim=-1)


def dola(model: Any, layers: list[int]) -> Reference:
    """DoLa: ln q_N - ln q_M, M the furthest layer by the divergence of the released code, early states without the final norm."""

    def scores(ids: Tensor, start: int) -> Tensor:
        output = model(ids, use_cache=False, output_hidden_states=True)
        final = output.logits[0, start - 1 : -1].log_softmax(dim=-1)
        early = torch.stack([model.lm_head(output.hidden_states[layer][0, start - 1 : -1]) for layer in layers]).log_softmax(dim=-1)
        mean = 0.5 * (final.exp() + early.exp())
        divergence = 0.5 * (mean * (mean.log() - final) + mean * (mean.log() - early)).mean(dim=-1)
        chosen = divergence.argmax(dim=0)
        return final - early[chosen, torch.arange(len(final))]

    return scores


def contrastive_decoding(model: Any, amateur: Any) -> Reference:
    """Contrastive decoding: ln p - ln q."""
    expert, other = plain(model), plain(amateur)
    return lambda ids, start: expert(ids, start) - other(ids, start)


@torch.no_grad()
def main() -> None:
    """Measure, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--amateur", help="for contrastive decoding; default: the model's own first third of layers")
    parser.add_argument("--file", type=Path, default=SAMPLE)
    parser.add_argument("--primer", type=Path, help="default: a primer of our own")
    parser.add_argument("--limit", type=int, default=8, help="so many, spread evenly over the file")
    parser.add_argument("--cases", nargs="+", default=["plain", "dola", "contrastive_decoding"], help="default: all three")
    parser.add_argument("--output-dir", type=Path, required=True)
    arguments = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    amateur = AutoModelForCausalLM.from_pretrained(arguments.amateur or arguments.model, dtype=torch.float32).eval()
    if not arguments.amateur:
        del amateur.model.layers[len(amateur.model.layers) // 3 :]
        amateur.config.num_hidden_layers = len(amateur.model.layers)
    preset = make_preset("original" if arguments.primer else "own", arguments.primer, None, chat_template=False)
    data = read_questions(arguments.file)
    step = max(1, len(data.questions) // arguments.limit)
    questions = data.questions[::step][: arguments.limit]
    dola_processor = DoLaLogitsProcessor(model, layers="high", alpha=0.0)
    cases: dict[str, tuple[Any, Reference]] = {
        "plain": (None, plain(model)),
        "dola": (dola_processor, dola(model, list(dola_processor.layers))),
        "contrastive_decoding": (ContrastiveDecodingLogitsProcessor(amateur, alpha=0.0), contrastive_decoding(model, amateur)),
    }
    results = []
    for name in arguments.cases:
        measured = measure(model, tokenizer, questions, preset, *cases[name])
        for each in (model, amateur):
            each.double()
        exact = measure(model, tokenizer, questions[:1], preset, *cases[name])["largest_difference"]
        for each in (model, amateur):
            each.float()
        results.append({"case": name, **measured, "largest_difference_float64": exact})
        print(results[-1], flush=True)
    record = {
        "results": results,
        "model": arguments.model,
        "amateur": arguments.amateur or f"its first {len(amateur.model.layers)} layers",
        "questions": len(questions),
        "data_sha256": data.sha256,
        "preset": preset.name,
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "versions": {package: version(package) for package in ("counterpoint", "torch", "transformers")},
    }
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    (arguments.output_dir / "truthfulqa.json").write_text(json.dumps(record, indent=2) + "\n")
    (arguments.output_dir / "truthfulqa.md").write_text(table(record))


def measure(model: Any, tokenizer: Any, questions: Any, preset: Any, decoder: Any, reference: Reference) -> dict[str, float]:
    """Seconds of both sides for all questions but the first, which warms up, and their largest difference."""
    scorer = Scorer(model, decoder, renormalise=decoder is None, banned=-math.inf)
    ours = theirs = 0.0
    answers = 0
    differences: list[float] = []
    relative: list[float] = []
    for index, question in enumerate(questions):
        prompt = preset.prompt(question.text, tokenizer)
        pairs = encode(model, tokenizer, prompt, [f" {answer}" for answer in question.answers()])
        begin = time.perf_counter()
        (texts,) = batches([(0, *pair) for pair in pairs], 1, None, batch_tokens=1 << 20)
        found = [score.total for score in scorer(texts)]
        middle = time.perf_counter()
        expected = []
        for before, after in pairs:
            scores = reference(torch.tensor([[*before, *after]]), len(before))
            expected.append(float(scores.gather(1, torch.tensor(after)[:, None]).double().sum()))
        end = time.perf_counter()
        differences += [abs(one - other) for one, other in zip(found, expected, strict=True)]
        relative += [abs(one - other) / max(1.0, abs(other)) for one, other in zip(found, expected, strict=True)]
        if index:
            ours, theirs, answers = ours + middle - begin, theirs + end - middle, answers + len(pairs)
    return {
        "answers": answers,
        "ours_seconds_per_answer": ours / max(answers, 1),
        "reference_seconds_per_answer": theirs / max(answers, 1),
        "speedup": theirs / ours if answers else math.nan,
        "largest_difference": max(differences),
        "mean_difference": sum(differences) / len(differences),
        "largest_relative_difference": max(relative),
    }


def table(record: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "| case | answers | reference, s/answer | ours, s/answer | times faster | largest difference | with float64 |",
        "|---" * 7 + "|",
    ]
    for row in record["results"]:
        lines.append(
            f"| {row['case']} | {row['answers']} | {row['reference_seconds_per_answer']:.3f} | "
            f"{row['ours_seconds_per_answer']:.4f} | {row['speedup']:.1f} | {row['largest_difference']:.1e} | "
            f"{row['largest_difference_float64']:.1e} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
