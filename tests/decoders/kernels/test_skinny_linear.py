"""Layers of few rows by each kernel: what they give anyway, in every decoder that uses them, and themselves again afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

import laws
from counterpoint.decoders import (
    DoLaLogitsProcessor,
    SLEDLogitsProcessor,
    contrastive_search,
    extrapolation,
    speculative_contrastive_decoding,
)
from counterpoint.decoders.kernels import products
from counterpoint.decoders.kernels.policy import Policy, pinned
from counterpoint.decoders.kernels.products import KERNELS, candidates
from counterpoint.decoders.kernels.skinny_linear import SkinnyLinears, linear_weights, plain_linears, skinny_forward
from families import ALL, Family, prompts
from real_models import REAL_MODELS

LLAMA = next(family for family in ALL if family.name == "llama")
BATCHED = [family for family in ALL if family.name in ("llama", "gpt2", "qwen3", "olmo2")]
NAMES = candidates(torch.float32, may_pack=True)[1:]


class Every(dict[str, str]):
    """The same kernel for every product, as no file says it."""

    def __init__(self, kernel: str) -> None:
        super().__init__()
        self.kernel = kernel

    def get(self, product: str, default: Any = None) -> str:
        """The kernel."""
        return self.kernel


@contextmanager
def everywhere(kernel: str, counted: list[int] | None = None) -> Iterator[None]:
    """All products of a few rows by this kernel; the numbers of rows that it is given are noted."""
    with pytest.MonkeyPatch.context() as patch, pinned(Policy(fixed=Every(kernel))) as change, change:
        if counted is not None:

            def counting(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
                counted.append(len(x))
                return own(x, weight, bias)

            own = KERNELS[kernel]
            patch.setitem(products.KERNELS, kernel, counting)
        yield


@pytest.mark.parametrize("kernel", NAMES)
@pytest.mark.parametrize("family", BATCHED, ids=str)
def test_contrastive_search_is_the_papers_rule(family: Family, kernel: str) -> None:
    rows: list[int] = []
    with everywhere(kernel, rows):
        laws.l2_fast_equals_plain(family, family.build(), candidates="tree")
    assert (laws.K * len(laws.LENGTHS) in rows) == (family.name != "gpt2"), "gpt2's layers are of another class"


@pytest.mark.parametrize("kernel", NAMES)
def test_a_text_is_the_same_alone_and_in_a_batch(kernel: str) -> None:
    rows: list[int] = []
    with everywhere(kernel, rows):
        laws.l1_rows_are_independent(LLAMA, LLAMA.build())
    assert {laws.K, laws.K * len(laws.LENGTHS)} <= set(rows), "one choice for any number of texts"


@pytest.mark.parametrize("kernel", NAMES)
@pytest.mark.parametrize(
    "make", [partial(DoLaLogitsProcessor, layers=[1]), partial(DoLaLogitsProcessor, layers="low"), SLEDLogitsProcessor], ids=str
)
def test_early_exits_pass_the_head_together(kernel: str, make: Any) -> None:
    model = LLAMA.build()
    ids, mask = prompts(model, (9, 6))
    arguments = {"attention_mask": mask, "max_new_tokens": 6, "do_sample": False, "output_scores": True, "eos_token_id": None}
    arguments |= {"return_dict_in_generate": True, "pad_token_id": 0}
    plain = model.generate(ids, logits_processor=[make(model)], **arguments)
    rows: list[int] = []
    with everywhere(kernel, rows):
        found = model.generate(ids, logits_processor=[make(model)], **arguments)
    assert rows
    assert torch.equal(found.sequences, plain.sequences)
    torch.testing.assert_close(torch.stack(found.scores), torch.stack(plain.scores), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel", NAMES)
def test_a_follower_reads_drafts(kernel: str) -> None:
    model = amateur = LLAMA.build()
    ids, _ = prompts(model, (9,))
    arguments: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    arguments |= {"custom_generate": speculative_contrastive_decoding, "form": partial(extrapolation, beta=0.5), "amateur": amateur}
    plain = model.generate(ids, **arguments)
    rows: list[int] = []
    with everywhere(kernel, rows):
        assert torch.equal(model.generate(ids, **arguments), plain)
    assert rows


def test_a_wrong_kernel_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    laws.l2_fast_equals_plain(LLAMA, LLAMA.build(), candidates="tree")  # what the process remembers of the tree is of right kernels
    monkeypatch.setitem(products.KERNELS, "transposed", lambda x, weight, bias: -nn.functional.linear(x, weight, bias))
    with everywhere("transposed"), pytest.raises(AssertionError):
        laws.l2_fast_equals_plain(LLAMA, LLAMA.build(), candidates="tree")


@pytest.mark.slow
@pytest.mark.parametrize("kernel", NAMES)
def test_a_real_model_says_the_same(kernel: str) -> None:
    folder = REAL_MODELS / "smollm2-135m-instruct"
    if not folder.exists():
        pytest.skip("needs SmolLM2-135M-Instruct")
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.arange(100, 132)[None]
    arguments: dict[str, Any] = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    for decoding in (
        {"custom_generate": contrastive_search, "penalty_alpha": 0.6, "top_k": 5},
        {"logits_processor": [DoLaLogitsProcessor(model, layers="low")]},
    ):
        plain = model.generate(ids, **arguments, **decoding)
        with everywhere(kernel):
            assert torch.equal(model.generate(ids, **arguments, **decoding), plain)


def test_gradients_flow_as_ever() -> None:
    layer = nn.Linear(4, 3)
    with everywhere("transposed"), SkinnyLinears(layer)(5) as change, change:
        assert "forward" in vars(layer)
        layer(torch.randn(1, 5, 4)).sum().backward()
    assert layer.weight.grad is not None


def test_only_plain_layers_are_taken() -> None:
    class Adapted(nn.Linear):
        """A layer with a forward of its own."""

    wrapped = nn.Linear(2, 2)
    wrapped.forward = lambda x: x  # type: ignore[method-assign]
    plain, half = nn.Linear(2, 2), nn.Linear(2, 2, dtype=torch.bfloat16)
    others = [wrapped, Adapted(2, 2), nn.Linear(2, 2, dtype=torch.float16), nn.Linear(2, 2, device="meta")]
    model = nn.ModuleList([plain, half, *others])
    assert plain_linears(model) == [plain, half]
    assert linear_weights(model) == [plain.weight, half.weight]


@torch.no_grad()
def test_rows_of_no_text_are_left_alone() -> None:
    layer, rows = nn.Linear(4, 3), []
    with everywhere("transposed", rows):
        for shape in [(5, 4), (1, 1, 4), (3, 1, 4), (1, 65, 4), (20, 5, 4), (4,)]:
            skinny_forward(layer, torch.randn(shape))
    assert not rows


def test_layers_are_themselves_again() -> None:
    model: PreTrainedModel = LLAMA.build()
    head = model.get_output_embeddings()
    skinny = SkinnyLinears(model, but=head)
    with everywhere("transposed"), pytest.raises(KeyError), skinny(5) as one, one, skinny(5) as two, two:
        fail_within(model)
    assert not [module for module in model.modules() if "forward" in vars(module)]


def fail_within(model: PreTrainedModel) -> None:
    """An error where all layers but the head are changed."""
    changed = [module for module in model.modules() if "forward" in vars(module)]
    assert changed == [linear for linear in plain_linears_of_class(model) if linear is not model.get_output_embeddings()]
    raise KeyError


def plain_linears_of_class(model: PreTrainedModel) -> list[nn.Module]:
    """All linear layers of a model that has plain ones only."""
    return [module for module in model.modules() if isinstance(module, nn.Linear)]
