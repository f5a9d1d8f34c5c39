"""Models whose weights are cut in two processes or held in few bits: every method as on whole texts read anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaForCausalLM

from counterpoint.decoders.hf.unembedding import is_tied
from counterpoint.decoders.hf.weights import place_of
from family_sweep import METHODS
from small_llama import outcomes, small_llama

SUPPORT = Path(__file__).parents[1] / "support"
RIGHT = dict.fromkeys(("greedy", *METHODS), "right")


def int8(model: LlamaForCausalLM, folder: Path) -> Any:
    """torchao's eight bits for each weight."""
    torchao: Any = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    torchao.quantize_(model, torchao.Int8WeightOnlyConfig())
    return model


def four_bits(model: LlamaForCausalLM, folder: Path) -> Any:
    """bitsandbytes' four."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    model.save_pretrained(folder)
    config: Any = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    return AutoModelForCausalLM.from_pretrained(folder, quantization_config=config, dtype=torch.float32, device_map="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("quantised", [int8, four_bits])
def test_weights_of_few_bits(quantised: Callable[[LlamaForCausalLM, Path], Any], tmp_path: Path) -> None:
    found = outcomes(lambda model: quantised(model, tmp_path), lambda model: quantised(model, tmp_path))
    assert {name: outcome.verdict for name, outcome in found.items()} == RIGHT


@pytest.mark.slow
@pytest.mark.parametrize("quantised", [int8, four_bits])
def test_the_sweep_of_quantised_models_can_fail(quantised: Callable[[LlamaForCausalLM, Path], Any], tmp_path: Path) -> None:
    """The weights that were quantised are not those of whole precision."""
    found = outcomes(lambda model: quantised(model, tmp_path), lambda model: model)
    assert "wrong" in {outcome.verdict for outcome in found.values()}


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
def test_tensor_parallelism(tmp_path: Path) -> None:
    """Two processes agree with the whole model, and so with each other."""
    for seed in (0, 1):
        small_llama(seed).save_pretrained(tmp_path / str(seed))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    ran = subprocess.run(
        [*torchrun, str(SUPPORT / "tensor_parallel.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    for rank in (0, 1):
        found = json.loads((tmp_path / f"outcomes-{rank}.json").read_text())
        assert {name: verdict for name, (verdict, _) in found.items()} == RIGHT, found


class WithoutStorage(torch.Tensor):
    """A tensor whose address says nothing, like those of sharded and quantised weights."""

    def data_ptr(self) -> int:
        return 12800


def test_an_address_that_says_nothing_ties_no_weights() -> None:
    model = small_llama(0)
    assert not is_tied(model)
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        weight = module.weight.data.as_subclass(WithoutStorage)
        del module.weight
        module.weight = weight
    assert model.get_input_embeddings().weight.data_ptr() == model.get_output_embeddings().weight.data_ptr()
    assert place_of(model.get_output_embeddings().weight) is None
    assert not is_tied(model)
