"""Law L8: token for token what transformers 4.49 gave, the last release with contrastive search and DoLa in core.

Needs the shared folder and, in ``COUNTERPOINT_PEER_PYTHON``, a Python that has torch and transformers 4.49.0. Defects of the peer
are not followed. Contrastive search: where processors leave fewer than ``top_k`` tokens, it may take a banned one (its probability
is zero, but its similarity may be the lowest); see ``test_a_banned_token_is_never_taken_even_among_few_allowed``. DoLa: of several
candidate layers it takes that of the largest mean divergence over the batch, so that texts depend on their batch-mates, and it
fails where a model projects its hidden states before the unembedding or where "low" is an empty range; see below.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, RepetitionPenaltyLogitsProcessor

from counterpoint.decoders import DoLaLogitsProcessor, contrastive_search, install, uninstall
from counterpoint.eval import AMATEUR, EXPERT
from families import ALL, Family, prompts
from real_models import REAL_MODELS

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


def toy(family: Family, folder: Path) -> tuple[PreTrainedModel, list[list[int]]]:
    """A toy model, saved for the peer, and prompts without padding."""
    model = family.build()
    model.save_pretrained(folder)
    ids, mask = prompts(model, (11, 7, 4))
    return model, [row[kept.bool()].tolist() for row, kept in zip(ids, mask, strict=True)]


@pytest.mark.parametrize("family", [family for family in ALL if family.name in ANCIENT], ids=str)
def test_toy_families(family: Family, oracle: tuple[str, str], tmp_path: Path) -> None:
    compare(oracle, tmp_path, *toy(family, tmp_path), 4, 0.6)


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
    folder, model, rows = real_model(name, shared)
    compare(oracle, folder, model, rows, k, alpha)


def real_model(name: str, shared: Path) -> tuple[Path, PreTrainedModel, list[list[int]]]:
    """A trained model, where it is, and prompts for it."""
    places = {"expert": EXPERT, "amateur": AMATEUR, "smollm2-135m-instruct": REAL_MODELS / name}
    folder = places.get(name, shared / "models" / name)
    if not folder.exists():
        pytest.skip(f"needs {name}: run get_models.py of the shared folder")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    if (folder / "tokenizer.json").exists():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return folder, model, [tokenizer(text)["input_ids"] for text in TEXTS]
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(3, model.config.vocab_size, (length,), generator=generator).tolist() for length in (12, 3, 20)]
    return folder, model, rows


def test_the_comparison_can_fail(oracle: tuple[str, str], tmp_path: Path) -> None:
    """With other parameters the tokens differ."""
    model = ALL[0].build()
    model.save_pretrained(tmp_path)
    row = prompts(model, (11,))[0][0].tolist()
    theirs = peer(oracle, tmp_path, [row], {"penalty_alpha": 0.6, "top_k": 4, "max_new_tokens": STEPS})
    assert ours(model, [row], {"penalty_alpha": 0.7, "top_k": 5, "max_new_tokens": STEPS}, "auto") != theirs


def our_dola(model: PreTrainedModel, rows: list[list[int]], parameters: dict[str, Any]) -> list[list[int]]:
    """New tokens of one left-padded batch, by the same arguments of plain ``generate`` as the peer's."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    install()
    try:
        output = model.generate(ids, attention_mask=mask, do_sample=False, eos_token_id=None, pad_token_id=0, **parameters)
    finally:
        uninstall()
    return [row[width:].tolist() for row in output]


def compare_dola(
    oracle: tuple[str, str], folder: Path, model: PreTrainedModel, rows: list[list[int]], parameters: dict[str, Any]
) -> None:
    """Each row alone as the peer has it, and in a batch what it is alone."""
    parameters = {"max_new_tokens": STEPS, **parameters}
    alone = peer(oracle, folder, rows, parameters)
    assert [our_dola(model, [row], parameters)[0] for row in rows] == alone
    assert our_dola(model, rows, parameters) == alone


@pytest.mark.parametrize("family", [family for family in ALL if family.name in ANCIENT and family.name != "opt_350m"], ids=str)
def test_dola_toy_families(family: Family, oracle: tuple[str, str], tmp_path: Path) -> None:
    """Several candidate layers, so that every step chooses one, and the penalty after the contrast."""
    model, rows = toy(family, tmp_path)
    compare_dola(oracle, tmp_path, model, rows, {"dola_layers": [0, 1, 2], "repetition_penalty": 1.2})


@pytest.mark.parametrize(
    "parameters",
    [{"dola_layers": "low"}, {"dola_layers": "high"}, {"dola_layers": [2]}, {"dola_layers": [2, 0], "no_repeat_ngram_size": 2}],
    ids=str,
)
def test_dola_layers(parameters: dict[str, Any], oracle: tuple[str, str], tmp_path: Path) -> None:
    model, rows = toy(ALL[2], tmp_path)
    compare_dola(oracle, tmp_path, model, rows, parameters)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("stories260K", "low"),
        ("stories260K", [0, 1, 2, 3, 4]),
        ("expert", "high"),
        ("expert", [1, 2, 3]),
        ("smollm2-135m-instruct", "low"),
        ("smollm2-135m-instruct", "high"),
    ],
)
def test_dola_real_models(name: str, layers: Any, oracle: tuple[str, str], shared: Path) -> None:
    folder, model, rows = real_model(name, shared)
    compare_dola(oracle, folder, model, rows, {"dola_layers": layers, "repetition_penalty": 1.2})


def test_dola_of_the_peer_depends_on_the_batch(oracle: tuple[str, str], tmp_path: Path) -> None:
    """A defect: one layer for all rows, that of the largest mean divergence. Of one candidate there is nothing to choose."""
    model, rows = toy(ALL[2], tmp_path)
    several, one = ({"dola_layers": layers, "max_new_tokens": STEPS} for layers in ([0, 1, 2], [1]))
    alone = peer(oracle, tmp_path, rows, several)
    assert peer(oracle, tmp_path, rows, several, "--batch") != alone
    assert our_dola(model, rows, several) == alone
    assert peer(oracle, tmp_path, rows, one, "--batch") == peer(oracle, tmp_path, rows, one) == our_dola(model, rows, one)


@pytest.mark.parametrize(("name", "layers", "error"), [("opt_350m", [1], "cannot be multiplied"), ("gpt2_tied", "low", "stack")])
def test_dola_of_the_peer_fails(name: str, layers: Any, error: str, oracle: tuple[str, str], tmp_path: Path) -> None:
    """It unembeds states that were not projected; "low" of three tied layers is the empty range from 2 to 1. Ours has them."""
    model, rows = toy(next(family for family in ALL if family.name == name), tmp_path)
    parameters = {"dola_layers": layers, "max_new_tokens": STEPS}
    with pytest.raises(subprocess.CalledProcessError) as failed:
        peer(oracle, tmp_path, rows, parameters)
    assert error in failed.value.stderr
    assert our_dola(model, rows, parameters) == [our_dola(model, [row], parameters)[0] for row in rows]


def test_the_comparison_of_dola_can_fail(oracle: tuple[str, str], tmp_path: Path) -> None:
    """With another order of penalty and contrast, or after the final norm, tokens differ."""
    model, rows = toy(ALL[2], tmp_path)
    parameters = {"dola_layers": [0, 1, 2], "repetition_penalty": 1.2, "max_new_tokens": STEPS}
    theirs = peer(oracle, tmp_path, rows[:1], parameters)
    assert our_dola(model, rows[:1], parameters) == theirs
    for wrong in ({"dola_layers": [0, 1]}, {"repetition_penalty": 1.0}):
        assert our_dola(model, rows[:1], parameters | wrong) != theirs
    ids = torch.tensor(rows[:1])
    arguments: dict[str, Any] = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0, "max_new_tokens": STEPS}
    normed = DoLaLogitsProcessor(model, layers=[0, 1, 2], final_norm=True)
    for processors in (
        [normed, RepetitionPenaltyLogitsProcessor(1.2)],
        [RepetitionPenaltyLogitsProcessor(1.2), DoLaLogitsProcessor(model, layers=[0, 1, 2])],
    ):
        assert model.generate(ids, logits_processor=processors, **arguments)[:, ids.shape[1] :].tolist() != theirs
