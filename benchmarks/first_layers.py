"""A model's own first layers as a model of their own: an amateur where its family has no smaller member.

Usage: ``python first_layers.py MODEL --layers 8 [--texts FILE ... --minutes 10] --output-dir amateur``. The folder has the
embedding, the first layers, the final norm and the unembedding. As they are, they say what a layer says early; with
``--texts`` they are trained for so many minutes to predict the next token of these files.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

LENGTH, ROWS, LEARNING_RATE, LAST = 256, 8, 3e-4, 0.3
"""Tokens of a row, rows of a step, the step size, and the share of the time in which the step size falls to nothing."""


def batches(ids: Tensor) -> Iterator[Tensor]:
    """Pieces of the text in an order by chance, again and again."""
    rows = ids[: len(ids) // LENGTH * LENGTH].view(-1, LENGTH)
    while True:
        yield from rows[torch.randperm(len(rows))].split(ROWS)


def train(model: Any, ids: Tensor, minutes: float) -> None:
    """Adam on the next token's loss, which is shown every twenty steps."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    start, losses = time.monotonic(), []
    for step, rows in enumerate(batches(ids)):
        done = (time.monotonic() - start) / (60 * minutes)
        if done >= 1:
            return
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 20, (1 - done) / LAST)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(rows, labels=rows).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step % 20 == 0:
            print(f"step {step}, {step * ROWS * LENGTH} tokens, loss {sum(losses[-20:]) / len(losses[-20:]):.3f}", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--layers", type=int, required=True)
    parser.add_argument("--texts", type=Path, nargs="*", default=[])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--output-dir", type=Path, default=Path("amateur"))
    arguments = parser.parse_args()
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, num_hidden_layers=arguments.layers, dtype=torch.float32)
    if arguments.texts:
        text = "\n\n".join(path.read_text(encoding="utf-8") for path in arguments.texts)
        train(model, tokenizer(text, return_tensors="pt").input_ids[0], arguments.minutes)
    model.save_pretrained(arguments.output_dir)
    tokenizer.save_pretrained(arguments.output_dir)


if __name__ == "__main__":
    main()
