"""The tree of candidates is chosen by a measurement that sees what defeats a tree, and sees it on the model as it is now."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GPTNeoConfig, GPTNeoForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

import every_family
from counterpoint.decoders import candidate_method, contrastive_search
from counterpoint.decoders.forwards import tree_measurement
from counterpoint.decoders.forwards.layer_tap import LayerTap
from families import FAMILY
from real_models import REAL_MODELS
from releases import before

SMALL: dict[str, Any] = dict(vocab_size=96, hidden_size=16, num_attention_heads=2, intermediate_size=16)


@pytest.mark.parametrize(
    ("window", "dtype"), [(8, torch.bfloat16), (64, torch.float32), (256, torch.bfloat16), (1000, torch.float32)]
)
def test_a_window_built_into_the_layers_is_found_past_its_edge(window: int, dtype: torch.dtype) -> None:
    """GPT-Neo's local layers count slots, which shows in texts longer than the window alone."""
    torch.manual_seed(0)
    config = GPTNeoConfig(**SMALL, num_layers=2, attention_types=[[["global", "local"], 1]], window_size=window)
    assert candidate_method(GPTNeoForCausalLM(config).to(dtype).eval())[0] == "expand"
    assert "away from those of rows" in candidate_method(GPTNeoForCausalLM(config).eval())[1]


def counting_slots(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward that numbers candidates by their slots."""

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        order = kwargs.get("position_ids")
        if order is not None and order.shape[-1] > 1 and bool((order[..., 1:] == order[..., :-1]).all()):
            kwargs["position_ids"] = order + torch.arange(order.shape[-1])
        return forward(self, *args, **kwargs)

    return counted


def seeing_siblings(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward that makes a causal mask of its own."""

    def seeing(self: Any, *args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        two = attention_mask is not None and attention_mask.ndim == 2
        return forward(self, *args, attention_mask=attention_mask if two else None, **kwargs)

    return seeing


@pytest.mark.parametrize("broken", [counting_slots, seeing_siblings])
def test_a_model_that_goes_its_own_way_is_found(broken: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    assert candidate_method(model)[0] == "tree"

    class Wayward(LlamaForCausalLM):
        pass

    Wayward.forward = broken(LlamaForCausalLM.forward)  # type: ignore[method-assign]
    Wayward.forward.__wrapped__ = LlamaForCausalLM.forward  # type: ignore[attr-defined]
    wayward = deepcopy(model)
    wayward.__class__ = Wayward
    assert candidate_method(wayward)[0] == "expand"


def small() -> LlamaForCausalLM:
    """A model that nobody has measured."""
    torch.manual_seed(1)
    return LlamaForCausalLM(LlamaConfig(**SMALL, num_hidden_layers=2, num_key_value_heads=1, initializer_range=0.3)).eval()


def test_it_is_measured_once_and_again_when_the_model_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[PreTrainedModel] = []
    measure = tree_measurement._measure

    def counted(model: PreTrainedModel, *args: Any) -> Any:
        measured.append(model)
        return measure(model, *args)

    monkeypatch.setattr(tree_measurement, "_measure", counted)
    model = small()
    for _ in range(3):
        assert candidate_method(model)[0] == "tree"
    assert len(measured) == 1
    model.model.layers[1].mlp.down_proj.weight.data.mul_(2.0)  # leaves identity and version as they were
    candidate_method(model)
    assert len(measured) == 2
    model.set_attn_implementation("eager")
    candidate_method(model)
    assert len(measured) == 3
    candidate_method(model.to(torch.bfloat16))
    candidate_method(model)
    assert len(measured) == 4


@pytest.mark.parametrize(
    ("dtype", "thrown", "method"),
    [
        (torch.bfloat16, 1, "tree"),
        (torch.float16, 1, "tree"),
        (torch.float32, 1, "expand"),
        (torch.bfloat16, 9, "expand"),
    ],
)
def test_rounding_in_few_bits_may_throw_a_single_state(
    dtype: torch.dtype, thrown: int, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    differences = tree_measurement._differences

    def throwing(one: Tensor, other: Tensor) -> Tensor:
        found = differences(one, other)
        found[len(found) // 2 : len(found) // 2 + thrown] = 2.0
        found[: thrown // 2] = 2.0
        return found

    monkeypatch.setattr(tree_measurement, "_differences", throwing)
    assert candidate_method(small().to(dtype))[0] == method


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["axk2:AXK2ForCausalLM", "mistral_large4:MistralLarge4ForConditionalGeneration"])
def test_one_wrong_state_past_an_edge_is_seen_in_any_dtype(name: str, dtype: torch.dtype) -> None:
    """Sparse attention leaves out other tokens in a tree, which shows in one or two of four states."""
    if name not in every_family.names():
        pytest.skip(f"this transformers has no {name}")
    assert candidate_method(every_family.build(name).to(dtype))[0] == "expand"


def test_no_number_is_no_small_difference() -> None:
    differences = torch.tensor([torch.nan, 0.0, 0.0], dtype=torch.bfloat16)
    assert math.isnan(tree_measurement._typical(differences))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_real_model_takes_the_tree(dtype: torch.dtype) -> None:
    """States of SmolLM2 in bfloat16 are up to twice their length away from those of rows, one in 14."""
    folder = REAL_MODELS / "smollm2-135m-instruct"
    if not folder.exists():
        pytest.skip(f"needs {folder}")
    assert candidate_method(AutoModelForCausalLM.from_pretrained(folder, dtype=dtype))[0] == "tree"


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("llama4_text:Llama4ForCausalLM", {}, "chunked_attention"),
        ("doge:DogeForCausalLM", {"keep_window_size": 2048, "max_position_embeddings": 8192}, "a window of 2048 tokens"),
        ("bloom:BloomForCausalLM", {}, "takes no position_ids"),
        ("minimax:MiniMaxForCausalLM", {}, "takes no cache of transformers' own"),
    ],
)
def test_what_short_texts_need_not_show_is_known(name: str, settings: dict[str, Any], reason: str) -> None:
    model = every_family.build(name, **settings)
    method, why = candidate_method(model)
    assert method == "expand"
    assert reason in why
    ids = torch.tensor([[5, 6, 7]])
    with pytest.raises(ValueError, match=r"candidates='tree' is not possible here|MiniMaxCache"):
        model.generate(ids, custom_generate=contrastive_search, penalty_alpha=0.6, top_k=3, candidates="tree", max_new_tokens=2)


def test_the_measurement_is_not_taken_for_a_forward_of_generate() -> None:
    model = small()
    tap = LayerTap(model, [1])
    assert candidate_method(model)[0] == "tree"
    with pytest.raises(ValueError, match="no forward of LlamaForCausalLM"):
        tap.states(torch.tensor([[5, 6, 7]]))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("deepseek_v32:DeepseekV32ForCausalLM", {"index_topk": 512}),
        ("hy_v4:HYV4ForCausalLM", {"index_topk": 512}),
        ("gemma3n_text:Gemma3nForCausalLM", {}),
    ],
)
def test_caches_with_more_or_less_than_keys_take_the_tree(name: str, settings: dict[str, Any]) -> None:
    """Sparse attention keeps an index beside its keys (here it leaves none out, by chance of rounding); shared keys lie once.

    The last layer of HY V4 has no index and takes another layer's.
    """
    if name not in every_family.names():
        pytest.skip(f"this transformers has no {name}")
    if before("5.19") and name.startswith("deepseek_v32"):
        pytest.skip("transformers before 5.19 calls sparse attention by a name of which nothing is known")
    model = every_family.build(name, **settings)
    ids = torch.tensor([[0, 0, *range(20, 26)], [*range(30, 38)]])
    arguments: dict[str, Any] = dict(
        custom_generate=contrastive_search, penalty_alpha=0.6, top_k=3, max_new_tokens=8, do_sample=False
    )
    arguments |= dict(attention_mask=(ids > 0).long(), pad_token_id=0, eos_token_id=None)
    trees, rows = (model.generate(ids, candidates=way, **arguments) for way in ("tree", "expand"))
    assert torch.equal(trees, rows)


def test_falcons_biases_count_slots() -> None:
    assert candidate_method(FAMILY["falcon_rotary"].build())[0] == "tree"
    assert candidate_method(FAMILY["falcon_alibi"].build())[0] == "expand"
