"""Texts of two models to be read without knowing whose they are, and the count of what the reader found.

Usage: ``python reading.py write --old DIR --new DIR --prompts prompts.jsonl --output-dir reading``, then read
``reading/texts.md`` and write ``reading/counts.csv``, a line ``number,grammatical,sentences`` for each text, then
``python reading.py count reading``.

Both models continue the same prompts by nucleus sampling and by contrastive search, as many words each. The texts are shuffled and
numbered; whose is which stands in ``reading/key.json`` and nowhere else.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from collections import defaultdict
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from counterpoint.decoders import contrastive_search

DECODERS = {
    "nucleus sampling": {"do_sample": True, "top_p": 0.95, "top_k": 0},
    "contrastive search": {"do_sample": False, "custom_generate": contrastive_search, "penalty_alpha": 0.6, "top_k": 5},
}
TOKENS = 160  # enough for the words in any tokenizer


def prompts(path: Path, count: int) -> list[str]:
    """Evenly spread prompts of ``counterpoint bench``'s file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(lines[index * len(lines) // count])["prompt"] for index in range(count)]


def continuations(folder: Path, texts: list[str], words: int, seed: int) -> list[tuple[str, str, str]]:
    """Decoder, prompt and continuation, for every decoder and prompt."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    found = []
    for name, options in DECODERS.items():
        for index, text in enumerate(texts):
            torch.manual_seed(seed + index)
            inputs = tokenizer(text, return_tensors="pt")
            ids = model.generate(**inputs, max_new_tokens=TOKENS, **options)[0, inputs["input_ids"].shape[1] :]
            found.append((name, text, " ".join(tokenizer.decode(ids, skip_special_tokens=True).split()[:words])))
    return found


def write(arguments: argparse.Namespace) -> None:
    """Generate, shuffle and write the texts and the key."""
    chosen = prompts(arguments.prompts, arguments.count)
    texts = [
        {"model": name, "decoder": decoder, "prompt": prompt, "text": text}
        for name, folder in (("old", arguments.old), ("new", arguments.new))
        for decoder, prompt, text in continuations(folder, chosen, arguments.words, arguments.seed)
    ]
    random.Random(arguments.seed).shuffle(texts)  # noqa: S311 - an order to read in
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    blocks = [f"## {number}\n\n*{text['prompt']}* {text['text']}\n" for number, text in enumerate(texts, 1)]
    (arguments.output_dir / "texts.md").write_text("\n".join(blocks), encoding="utf-8")
    key = [{"number": number, **text} for number, text in enumerate(texts, 1)]
    (arguments.output_dir / "key.json").write_text(json.dumps(key, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def count(arguments: argparse.Namespace) -> None:
    """Print the share of grammatical sentences for each model and decoder."""
    key = {entry["number"]: entry for entry in json.loads((arguments.output_dir / "key.json").read_text(encoding="utf-8"))}
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    with (arguments.output_dir / "counts.csv").open(encoding="utf-8") as file:
        for number, good, sentences in csv.reader(file):
            entry = sums[key[int(number)]["model"], key[int(number)]["decoder"]]
            for index, value in enumerate((1, int(good), int(sentences))):
                entry[index] += value
    print("| model | decoder | texts | sentences | grammatical | share |\n|---|---|---|---|---|---|")
    for (model, decoder), (texts, good, sentences) in sorted(sums.items()):
        print(f"| {model} | {decoder} | {texts} | {sentences} | {good} | {good / sentences:.2f} |")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    writing = commands.add_parser("write")
    writing.add_argument("--old", type=Path, required=True)
    writing.add_argument("--new", type=Path, required=True)
    writing.add_argument("--prompts", type=Path, required=True)
    writing.add_argument("--output-dir", type=Path, required=True)
    writing.add_argument("--count", type=int, default=20)
    writing.add_argument("--words", type=int, default=60)
    writing.add_argument("--seed", type=int, default=0)
    writing.set_defaults(action=write)
    counting = commands.add_parser("count")
    counting.add_argument("output_dir", metavar="DIR", type=Path)
    counting.set_defaults(action=count)
    arguments = parser.parse_args()
    arguments.action(arguments)


if __name__ == "__main__":
    main()
