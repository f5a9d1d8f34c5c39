"""Law L8: token for token what transformers 4.49 gave, the last release with contrastive search in core.

Needs the shared folder and, in ``COUNTERPOINT_PEER_PYTHON``, a Python that has torch and transformers 4.49.0. One defect of the
peer is not followed: where processors leave fewer than ``top_k`` tokens, it may take a banned one (its probability is zero, but
its similarity may be the lowest); see ``test_a_banned_token_is_never_taken_even_among_few_allowed``.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from counterpoint.decoders import contrastive_search
from counterpoint.eval import AMATEUR, EXPERT
from families import ALL, Family, prompts

STEPS = 60
TEXTS = [
    "It was the best of times, and the captain of the ship",
    "She said",
    "There was in the village an old man who had never in his life been known to",
]
ANCIENT = (
    "gpt2 gpt2_tied llama opt opt_350m gpt_neox phi gemma mistral_sliding qwen2 stablelm starcoder2 bloom gpt_neo_local".split()
)
"""Toy architectures whose configurations 4.49 reads."""
REAL_MODELS = Path.home() / ".cache" / "counterpoint-models"


@pytest.fixture(scope="module")
def oracle(shared: Path) -> tuple[str, str]:
    """The peer's interpreter and script."""
    python = os.environ.get("COUNTERPOINT_PEER_PYTHON")
    if not python:
        pytest.skip("needs an interpreter with transformers 4.49.0: set COUNTERPOINT_PEER_PYTHON")
    return python, str(shared / "oracle" / "peer_449.py")


def peer(
    oracle: tuple[str, str], folder: Path, rows: list[list[int]], parameters: dict[str, Any], *options: str
) -> list[list[int]]:
    """New tokens by transformers 4.49."""
    command = [*oracle, str(folder), json.dumps(rows), json.dumps(parameters), "--no-eos", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["version"] == "4.49.0"
    new: list[list[int]] = found["new_tokens"]
    return new


def ours(model: PreTrainedModel, rows: list[list[int]], parameters: dict[str, Any], candidates: str) -> list[list[int]]:
    """New tokens of one left-padded batch."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    arguments = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0, "candidates": candidates, **parameters}
    output = model.generate(ids, attention_mask=mask, custom_generate=contrastive_search, **arguments)
    return [row[width:].tolist() for row in output]


def compare(oracle: tuple[str, str], folder: Path, model: PreTrainedModel, rows: list[list[int]], k: int, alpha: float) -> None:
    """Alone and in a padded batch, by whichever method computes the candidates, the same tokens as the peer."""
    parameters = {"penalty_alpha": alpha, "top_k": k, "max_new_tokens": STEPS}
    alone = peer(oracle, folder, rows, parameters)
    assert peer(oracle, folder, rows, parameters, "--batch") == alone, "the peer itself depends on the batch"
    assert [ours(model, [row], parameters, "auto")[0] for row in rows] == alone
    assert ours(model, rows, parameters, "auto") == alone
    assert ours(model, rows, parameters, "expand") == alone


@pytest.mark.parametrize("family", [family for family in ALL if family.name in ANCIENT], ids=str)
def test_toy_families(family: Family, oracle: tuple[str, str], tmp_path: Path) -> None:
    model = family.build()
    model.save_pretrained(tmp_path)
    ids, mask = prompts(model, (11, 7, 4))
    rows = [row[kept.bool()].tolist() for row, kept in zip(ids, mask, strict=True)]
    compare(oracle, tmp_path, model, rows, 4, 0.6)


@pytest.mark.parametrize(
    ("name", "k", "alpha"),
    [
        ("stories260K", 4, 0.6),
        ("stories-amateur-40K", 8, 0.4),
        ("expert", 4, 0.6),
        ("expert", 10, 0.7),
        ("amateur", 5, 0.5),
        ("smollm2-135m-instruct", 4, 0.6),
    ],
)
def test_real_models(name: str, k: int, alpha: float, oracle: tuple[str, str], shared: Path) -> None:
    places = {"expert": EXPERT, "amateur": AMATEUR, "smollm2-135m-instruct": REAL_MODELS / name}
    folder = places.get(name, shared / "models" / name)
    if not folder.exists():
        pytest.skip(f"needs {name}: run get_models.py of the shared folder")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    if (folder / "tokenizer.json").exists():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        rows = [tokenizer(text)["input_ids"] for text in TEXTS]
    else:
        generator = torch.Generator().manual_seed(0)
        rows = [torch.randint(3, model.config.vocab_size, (length,), generator=generator).tolist() for length in (12, 3, 20)]
    compare(oracle, folder, model, rows, k, alpha)


def test_the_comparison_can_fail(oracle: tuple[str, str], tmp_path: Path) -> None:
    """With other parameters the tokens differ."""
    model = ALL[0].build()
    model.save_pretrained(tmp_path)
    row = prompts(model, (11,))[0][0].tolist()
    theirs = peer(oracle, tmp_path, [row], {"penalty_alpha": 0.6, "top_k": 4, "max_new_tokens": STEPS})
    assert ours(model, [row], {"penalty_alpha": 0.7, "top_k": 5, "max_new_tokens": STEPS}, "auto") != theirs
