"""Held-out perplexity of causal language models, per token and per word, and bits per byte.

Usage: ``python evaluate.py --corpus DIR [--split heldout-plain] MODEL [MODEL ...]``

Every token of every held-out document counts once: windows of ``--window`` tokens advance by half their length, and only the
half not yet counted is scored, so that each token is seen with at least half a window before it where the document has one. A
document is preceded by the end-of-text token, which is not itself scored. Perplexities per word and bits per byte compare models
of different vocabularies; words are what whitespace separates.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase


@torch.no_grad()
def negative_log_likelihood(model: PreTrainedModel, ids: list[int], window: int) -> float:
    """Sum over all tokens but the first, in nats."""
    total, scored = 0.0, 1
    while scored < len(ids):
        end = min(len(ids), max(scored + window // 2, window))
        start = max(0, end - window)
        row = torch.tensor([ids[start:end]])
        logits = model(input_ids=row).logits[0, scored - start - 1 : -1].float()
        total += torch.nn.functional.cross_entropy(logits, row[0, scored - start :], reduction="sum").item()
        scored = end
    return total


def evaluate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, documents: list[dict[str, str]], window: int
) -> dict[str, dict[str, float]]:
    """The measures for every source and for all of them together."""
    sums: dict[str, list[float]] = {}
    for document in documents:
        text = document["text"]
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        nats = negative_log_likelihood(model, [tokenizer.bos_token_id, *ids], window)
        for key in (document["source"], "all"):
            entry = sums.setdefault(key, [0.0, 0.0, 0.0, 0.0])
            for index, value in enumerate((nats, len(ids), len(text.split()), len(text.encode()))):
                entry[index] += value
    return {
        key: {
            "tokens": int(tokens),
            "words": int(words),
            "perplexity_per_token": math.exp(nats / tokens),
            "perplexity_per_word": math.exp(nats / words),
            "bits_per_byte": nats / math.log(2) / size,
        }
        for key, (nats, tokens, words, size) in sums.items()
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="model directories")
    parser.add_argument("--corpus", type=Path, required=True, help="folder written by corpus.py")
    parser.add_argument("--split", default="heldout", help="heldout, or heldout-plain")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = (arguments.corpus / f"{arguments.split}.jsonl").read_text(encoding="utf-8").splitlines()
    documents = [json.loads(line) for line in lines]
    for name in arguments.models:
        model = AutoModelForCausalLM.from_pretrained(name).eval()
        tokenizer = AutoTokenizer.from_pretrained(name)
        print(name, sum(parameter.numel() for parameter in model.parameters()), "parameters", model.dtype)
        for source, row in evaluate(model, tokenizer, documents, arguments.window).items():
            print(
                f"  {source:18} {row['tokens']:7} tokens  {row['words']:6} words  per token {row['perplexity_per_token']:8.2f}"
                f"  per word {row['perplexity_per_word']:9.2f}  bits per byte {row['bits_per_byte']:.3f}"
            )


if __name__ == "__main__":
    main()
