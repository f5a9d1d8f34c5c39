"""What the scripts of this folder share: options, the model, results that a stopped run goes on with, and intervals."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from counterpoint.eval import EXPERT
from counterpoint.eval.bench.metrics import mean, terms
from counterpoint.eval.metrics import resampling


def options(description: str) -> argparse.ArgumentParser:
    """A parser of the options that all of them have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(EXPERT))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--limit", type=int, default=10**6)
    parser.add_argument("--output-dir", type=Path, default=Path("results"))
    return parser


def loaded(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """The model and its tokenizer; the folder of results is there after it."""
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    read: Callable[..., Any] = AutoModelForCausalLM.from_pretrained
    model = read(arguments.model, dtype=getattr(torch, arguments.dtype)).eval()
    return model, AutoTokenizer.from_pretrained(arguments.model)


def records_of(journal: Path) -> list[Any]:
    """What an earlier run has written, a line of JSON each."""
    return [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()] if journal.exists() else []


def written(stem: Path, text: str) -> None:
    """Write a table beside its records, and show it."""
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean, and its 95 % bootstrap interval over items."""
    texts = terms(values)[None]
    low, high = resampling.interval(resampling.bootstrap(texts, mean, resamples=4000), 0.95) or (float("nan"),) * 2
    return resampling.metric_of(texts, mean), low, high
