"""The embedded pair: small, one tokenizer, the expert better than the amateur, greedy loops and contrastive search does not."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders import contrastive_search
from counterpoint.eval import AMATEUR, EXPERT, diversity
from counterpoint.eval.bench.passages import PROMPTS as PROMPTS_FILE

PASSAGE = (
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife. "
    "However little known the feelings or views of such a man may be on his first entering a neighbourhood, this truth is so well "
    "fixed in the minds of the surrounding families, that he is considered as the rightful property of some one or other of their "
    "daughters."
)
PROMPTS = [
    "The old captain looked at the sea and",
    "My fellow citizens,",
    "She was very happy, and",
    "In the morning the whole family",
]


@pytest.mark.parametrize(("folder", "megabytes"), [(EXPERT, 12), (AMATEUR, 3.5)], ids=["expert", "amateur"])
def test_files(folder: Path, megabytes: float) -> None:
    assert sum(file.stat().st_size for file in folder.iterdir()) <= megabytes * 1e6
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"
    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F16"}  # noqa: SIM118 - no mapping
    assert AutoModelForCausalLM.from_pretrained(folder).dtype == torch.float32
    card = (folder / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "perplexity per token" in card


def test_one_tokenizer() -> None:
    files = [(folder / "tokenizer.json").read_bytes() for folder in (EXPERT, AMATEUR)]
    assert files[0] == files[1]
    assert AutoTokenizer.from_pretrained(EXPERT).padding_side == "left"


@given(st.text(max_size=60).filter(lambda text: "<|" not in text))
def test_tokenizer_loses_nothing(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


TOKENIZER: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(AMATEUR)


@torch.no_grad()
def loss(model: PreTrainedModel, ids: torch.Tensor) -> float:
    """Mean over the tokens, in nats."""
    return float(model(ids, labels=ids).loss)


def test_expert_beats_amateur_beats_unigrams(
    expert: PreTrainedModel, amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    ids = tokenizer(PASSAGE, return_tensors="pt")["input_ids"]
    rows = [json.loads(line) for line in PROMPTS_FILE.read_text(encoding="utf-8").splitlines()]
    counts = Counter(token for row in rows for token in tokenizer(row["prompt"] + row["reference"])["input_ids"])
    chances = [(counts[token] + 1) / (counts.total() + len(tokenizer)) for token in ids[0].tolist()]
    unigrams = -sum(map(math.log, chances)) / len(chances)
    assert loss(expert, ids) < loss(amateur, ids) < unigrams


def test_greedy_loops_and_contrastive_search_does_not(expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    inputs = tokenizer(PROMPTS, padding=True, return_tensors="pt")

    def texts(**kwargs: object) -> list[str]:
        ids = expert.generate(**inputs, max_new_tokens=120, do_sample=False, **kwargs)
        return tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    greedy, contrastive = texts(), texts(custom_generate=contrastive_search, penalty_alpha=0.6, top_k=5)
    assert diversity(greedy) < 0.5
    assert diversity(contrastive) > 0.9
