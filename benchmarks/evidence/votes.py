"""What choosing among several samples is worth on sums in words: votes, self-certainty, confidence; and a contrast for reasoning.

Usage: ``python votes.py --model PATH --dtype float32 --output-dir DIR``; the embedded expert by default, whose amateur is the
embedded one. Of each problem of ``eval/data/arithmetic.jsonl`` greedy decoding writes one text, ``contrastive_reasoning`` another
one, and sampling (p = 0.95, temperature 0.8) eight, among which each ranker chooses by the logits that sampling kept. A text is
right if its last number is the answer. Without an amateur a model is contrasted with itself after worked examples that are wrong.

Writes ``votes_MODEL.jsonl``, a line for each problem, to which a run that was stopped adds what is missing, and ``votes_MODEL.md``,
the shares that are right with 95 % intervals of a bootstrap over problems, and what each differs by from one sample.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from common import interval, loaded, options, records_of, written
from transformers import AutoModelForCausalLM

from counterpoint.decoders import decoder
from counterpoint.decoders.choosing.builders import prompt_batch
from counterpoint.decoders.forwards.chats import Chat, Prompt
from counterpoint.eval import AMATEUR, EXPERT
from counterpoint.rankers import ConfidenceRanker, Ranker, SelfCertaintyRanker, VoteRanker, rerank
from counterpoint.rankers.judges.answers import extractor, normalised

DATA = Path(__file__).resolve().parents[2] / "eval" / "data" / "arithmetic.jsonl"
SAMPLES = 8
WRONG = (
    "Tom has 4 cups and buys 5 more. How many cups does Tom have? 4 minus 5 is 20. The answer is 20.\n"
    "There are 3 bags with 6 nuts each. How many nuts are there? 3 plus 6 is 2. The answer is 2."
)


def rankers(tokenizer: Any) -> dict[str, Ranker]:
    """Those that are compared, which read the logits that generation kept."""
    certainty = SelfCertaintyRanker(None, tokenizer)
    lowest, mean = (ConfidenceRanker(None, tokenizer, measure=name, window=16) for name in ("lowest", "mean"))
    return {
        "vote": VoteRanker(answer="number"),
        "self_certainty": certainty,
        "vote:ranker=self_certainty,power=0.5": VoteRanker(certainty, answer="number", power=0.5),
        "confidence:measure=mean": mean,
        "confidence:measure=lowest,window=16": lowest,
        "vote:ranker=[confidence:measure=mean]": VoteRanker(mean, answer="number"),
        "vote:ranker=[confidence:measure=mean],keep=0.5": VoteRanker(mean, answer="number", keep=0.5),
    }


def right(text: str, answer: str) -> bool:
    """Whether a text's last number is the answer."""
    found = extractor("number")(text)
    return found is not None and normalised(found) == answer


def judged(model: Any, tokenizer: Any, amateur: Any, problem: Mapping[str, str], tokens: int) -> dict[str, float]:
    """Of each way of writing and choosing whether its text is right; of samples the mean."""
    question = problem["prompt"]
    asked: Prompt = f"{question}\nThe answer is"
    if tokenizer.chat_template:
        asked = Chat(({"role": "user", "content": f"{question} End with: The answer is, and the number."},))
    inputs = prompt_batch(model, tokenizer, [asked])
    width = inputs["input_ids"].shape[1]

    def written(**arguments: Any) -> list[str]:
        ids = model.generate(**inputs, **arguments, max_new_tokens=tokens)
        return list(tokenizer.batch_decode(ids[:, width:], skip_special_tokens=True))

    found = {"greedy": float(right(written(do_sample=False)[0], problem["answer"]))}
    choice = "contrastive_reasoning" if amateur else f'contrastive_reasoning:amateur_prompt="{WRONG}"'
    contrast = decoder(choice, model, tokenizer, amateur=amateur, prompts=[asked])
    found["contrastive_reasoning"] = float(right(written(**contrast)[0], problem["answer"]))
    output = model.generate(
        **inputs,
        do_sample=True,
        top_p=0.95,
        top_k=0,
        temperature=0.8,
        num_return_sequences=SAMPLES,
        max_new_tokens=tokens,
        output_logits=True,
        return_dict_in_generate=True,
    )
    texts = tokenizer.batch_decode(output.sequences[:, width:], skip_special_tokens=True)
    marks = [float(right(text, problem["answer"])) for text in texts]
    found |= {"one sample": fmean(marks), "any sample": max(marks)}
    prefix = tokenizer.decode(inputs["input_ids"][0], skip_special_tokens=True)
    for name, ranker in rankers(tokenizer).items():
        best = rerank(ranker, prefix, output, tokenizer=tokenizer, prompt_length=width)
        found[name] = marks[best.order[0]]
    return found


def table(records: Sequence[Mapping[str, float]]) -> str:
    """Shares in per cent, and differences to one sample in points."""
    lines = ["| | right | less one sample |", "|---|---|---|"]
    for name in records[0]:
        own = [each[name] for each in records]
        mean, low, high = (100 * value for value in interval(own))
        less = [each[name] - each["one sample"] for each in records]
        gain, least, most = (100 * value for value in interval(less))
        more = "" if name == "one sample" else f"{gain:+.1f} ({least:+.1f} to {most:+.1f})"
        lines.append(f"| {name} | {mean:.1f} ({low:.1f} to {high:.1f}) | {more} |")
    return "\n".join([*lines, "", f"{len(records)} problems, {SAMPLES} samples of each.", ""])


def main() -> None:
    """Measure and write."""
    parser = options(__doc__)
    parser.add_argument("--tokens", type=int, default=48)
    arguments = parser.parse_args()
    model, tokenizer = loaded(arguments)
    amateur = AutoModelForCausalLM.from_pretrained(AMATEUR).eval() if arguments.model == str(EXPERT) else None
    problems = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()][: arguments.limit]
    stem = arguments.output_dir / f"votes_{Path(arguments.model).name}"
    journal = stem.with_suffix(".jsonl")
    records = records_of(journal)
    for number in range(len(records), len(problems)):
        torch.manual_seed(number)
        records.append(judged(model, tokenizer, amateur, problems[number], arguments.tokens))
        with journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(records[-1]) + "\n")
    written(stem, table(records))


if __name__ == "__main__":
    main()
