"""Models within PEFT, on disk, or with another head than before: right, or refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import dispatch_model
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from torch import Tensor, nn
from transformers import CompileConfig, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from contrast_cases import sibling
from counterpoint.decoders import (
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    ContrastiveSearchLogitsProcessor,
    DoLaLogitsProcessor,
    FrustratinglySimpleLogitsProcessor,
    LayerFusionLogitsProcessor,
    SLEDLogitsProcessor,
    VectorAntiLanguageModel,
    adaptive_contrastive_search,
    candidate_method,
    contrastive_search,
    score,
    speculative_contrastive_decoding,
)
from counterpoint.decoders.testing import tiny_model
from families import FAMILY

IDS = torch.tensor([[5, 9, 11, 30, 7, 9, 11], [0, 0, 0, 44, 31, 9, 60]])
MASK = (IDS > 0).long()
OTHER = {"input_ids": torch.tensor([[4, 8, 8], [0, 7, 6]]), "attention_mask": torch.tensor([[1, 1, 1], [0, 1, 1]])}
PLAIN: dict[str, Any] = {"max_new_tokens": 3, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}

TAPPED: dict[str, Callable[[Any, Any], Any]] = {
    "DoLa": lambda model, amateur: DoLaLogitsProcessor(model, layers="low"),
    "SLED": lambda model, amateur: SLEDLogitsProcessor(model),
    "layer fusion": lambda model, amateur: LayerFusionLogitsProcessor(model, amateur, layers=[1, 2]),
    "vector form": lambda model, amateur: FrustratinglySimpleLogitsProcessor(VectorAntiLanguageModel(model)),
}
"""Processors that watch the forward which ``generate`` runs."""
PROCESSORS: dict[str, Callable[[Any, Any], Any]] = {
    "contrastive decoding": lambda model, amateur: ContrastiveDecodingLogitsProcessor(amateur),
    "context-aware": lambda model, amateur: ContextAwareLogitsProcessor(model, OTHER),
    "contrastive search": lambda model, amateur: ContrastiveSearchLogitsProcessor(model),
    **TAPPED,
}
LOOPS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "search": lambda amateur: {"custom_generate": contrastive_search, "penalty_alpha": 0.6, "top_k": 4},
    "search by rows": lambda amateur: {
        "custom_generate": contrastive_search,
        "penalty_alpha": 0.6,
        "top_k": 4,
        "candidates": "expand",
    },
    "adaptive": lambda amateur: {"custom_generate": adaptive_contrastive_search},
    "speculative": lambda amateur: {"custom_generate": speculative_contrastive_decoding, "amateur": amateur},
}


def texts(model: Any, **mode: Any) -> list[list[int]]:
    rows = slice(1) if mode.get("custom_generate") is speculative_contrastive_decoding else slice(2)
    found: Tensor = model.generate(input_ids=IDS[rows], attention_mask=MASK[rows], **PLAIN, **mode)
    return found[:, IDS.shape[1] :].tolist()


def by_each_method(generating: Any, given: Any, amateur: Any) -> Iterator[tuple[str, list[list[int]]]]:
    """What ``generating`` writes by every method that was given ``given`` as its model, and this amateur."""
    for name, make in PROCESSORS.items():
        yield name, texts(generating, logits_processor=[make(given, amateur)])
    for name, arguments in LOOPS.items():
        yield name, texts(generating, **arguments(amateur))
    scored = score(given, None, [[5, 9, 11]], [[[7, 8], [30]]], ContrastiveDecodingLogitsProcessor(amateur, alpha=0.0))
    yield "score", [[round(1e3 * each.total) for each in row] for row in scored]


def tuned(model: PreTrainedModel, *targets: str) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return get_peft_model(model, LoraConfig(target_modules=list(targets), r=4, init_lora_weights=False)).eval()


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning")
def test_a_peft_model_is_the_model_inside_of_it(name: str) -> None:
    """As the model that generates, the one that is given to a decoder, and the amateur."""
    targets = {"llama": "q_proj", "gpt2": "c_attn"}
    peft, other = (tuned(deepcopy(model), targets[name]) for model in (FAMILY[name].build(), sibling(FAMILY[name])))
    expected = dict(by_each_method(peft.get_base_model(), peft.get_base_model(), other.get_base_model()))
    assert dict(by_each_method(peft, peft, other)) == expected
    assert candidate_method(peft) == candidate_method(peft.get_base_model())


def test_tokens_that_peft_puts_before_a_text_are_refused() -> None:
    peft: Any = get_peft_model(tiny_model(), PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"))
    for make in PROCESSORS.values():
        with pytest.raises(ValueError, match="PREFIX_TUNING puts tokens of its own before the text"):
            make(peft, peft)
    with pytest.raises(ValueError, match="PREFIX_TUNING"):
        score(peft, None, [[5, 9]], [[[7]]])


@pytest.mark.filterwarnings("ignore:You are calling .generate")  # some releases warn of weights that lie elsewhere
def test_weights_on_disk_are_fetched(tmp_path: Path) -> None:
    """All of them, embeddings and head included, which lie on the device "meta" in between."""
    places: dict[str, Any] = {name: "disk" for name, _ in tiny_model().named_parameters()}
    places = {name.removesuffix(".weight"): place for name, place in places.items()} | {"model.rotary_emb": "cpu"}
    offloaded: Any = dispatch_model(tiny_model(), places, main_device="cpu", offload_dir=str(tmp_path))
    assert offloaded.get_input_embeddings().weight.device.type == "meta"
    plain, amateur = tiny_model(), tiny_model(seed=1)
    assert dict(by_each_method(offloaded, offloaded, amateur)) == dict(by_each_method(plain, plain, amateur))
    assert texts(plain, logits_processor=[ContrastiveDecodingLogitsProcessor(offloaded)]) == texts(
        plain, logits_processor=[ContrastiveDecodingLogitsProcessor(tiny_model())]
    )


@pytest.mark.parametrize("tied", [True, False])
def test_what_is_tied_on_disk(tied: bool, tmp_path: Path) -> None:
    """DoLa's lower half leaves the embeddings out where the head is tied to them."""
    sizes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=6, num_attention_heads=2, vocab_size=30)
    LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=tied)).save_pretrained(tmp_path)
    places = {
        "model.layers": "cpu",
        "model.norm": "cpu",
        "model.rotary_emb": "cpu",
        "model.embed_tokens": "disk",
        "lm_head": "disk",
    }
    model = LlamaForCausalLM.from_pretrained(tmp_path, device_map=places, offload_folder=str(tmp_path / "offloaded"))
    assert model.lm_head.weight.is_meta
    assert DoLaLogitsProcessor(model, layers="low").layers == ((2,) if tied else (0, 2))


def resized(model: PreTrainedModel) -> None:
    torch.manual_seed(1)
    model.resize_token_embeddings(104, mean_resizing=False)


def replaced(model: PreTrainedModel) -> None:
    torch.manual_seed(1)
    model.set_output_embeddings(nn.Linear(32, 96, bias=False).requires_grad_(False))


def wrapped(model: PreTrainedModel) -> None:
    tuned(model, "lm_head", "q_proj")


@pytest.mark.parametrize("change", [resized, replaced, wrapped])
@pytest.mark.parametrize("name", [*TAPPED, "contrastive search"])
def test_another_head_is_the_one_that_is_used(name: str, change: Callable[[PreTrainedModel], None]) -> None:
    model, amateur = tiny_model(), tiny_model(seed=1)
    used = PROCESSORS[name](model, amateur)
    texts(model, logits_processor=[used])
    change(model)
    if change is resized:
        resized(amateur)
    output: dict[str, Any] = {"output_scores": True, "return_dict_in_generate": True, **PLAIN}
    found, expected = (
        model.generate(IDS, attention_mask=MASK, logits_processor=[each], **output)
        for each in (used, PROCESSORS[name](model, amateur))
    )
    assert found.sequences.tolist() == expected.sequences.tolist()
    for own, other in zip(found.scores, expected.scores, strict=True):
        torch.testing.assert_close(own, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layer", [0, 2])
def test_a_layer_that_is_gone_is_missed(layer: int) -> None:
    """``del`` gives the list of layers a new dictionary, and moves those behind it."""
    model = tiny_model()
    used = DoLaLogitsProcessor(model, layers=[1])
    texts(model, logits_processor=[used])
    del model.model.layers[layer]
    with pytest.raises(ValueError, match="has no list of 3 decoder layers"):
        texts(model, logits_processor=[used])


def test_another_container_of_the_same_layers_is_no_other_model() -> None:
    model = tiny_model()
    used = DoLaLogitsProcessor(model, layers=[1])
    expected = texts(model, logits_processor=[used])
    within = model.model
    model.model = copy(within)
    model.model._modules = dict(within._modules)
    assert texts(model, logits_processor=[used]) == expected
    assert used.tap.exits.found[1].hold()


def test_layers_that_a_name_no_longer_stands_for_are_refused() -> None:
    model = deepcopy(FAMILY["gpt2_tied"].build())
    used = DoLaLogitsProcessor(model, layers="low")
    untied = nn.Linear(model.config.hidden_size, model.config.vocab_size, bias=False)
    model.set_output_embeddings(untied)
    model.config.tie_word_embeddings = False
    with pytest.raises(ValueError, match=r"layers='low' stood for .* make a new DoLaLogitsProcessor"):
        texts(model, logits_processor=[used])


COMPILED: dict[str, Callable[[Any], Any]] = {
    "model.compile()": lambda model: model.compile(backend="eager") or model,
    "torch.compile(model)": lambda model: torch.compile(model, backend="eager"),
}


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def written(ways: Callable[[], tuple[Any, Any, Any]]) -> dict[str, list[list[int]]]:
    """What every method writes with a model that generates, the same as it is given to decoders, and an amateur, all new to it."""
    found: dict[str, Any] = {}
    for name, make in PROCESSORS.items():
        torch.compiler.reset()  # models of one architecture share what was compiled, before others watched
        generating, given, amateur = ways()
        found[name] = texts(generating, logits_processor=[make(given, amateur)])
    for name, arguments in LOOPS.items():
        torch.compiler.reset()
        generating, _, amateur = ways()
        found[name] = texts(generating, **arguments(amateur))
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("subject", ["model", "amateur"])
@pytest.mark.parametrize("way", COMPILED)
def test_a_compiled_model_is_right(way: str, subject: str) -> None:
    """What watches its layers breaks the graph there; forwards of ours run as they were before."""

    def plain() -> tuple[Any, Any, Any]:
        model = tiny_model()
        return model, model, tiny_model(seed=1)

    def compiled() -> tuple[Any, Any, Any]:
        model, _, amateur = plain()
        if subject == "model":
            model = COMPILED[way](model)
        else:
            amateur = COMPILED[way](amateur)
        return model, model, amateur

    assert written(compiled) == written(plain)


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("name", TAPPED)
def test_code_compiled_before_a_decoder_was_made_is_refused_or_right(name: str, static: bool) -> None:
    plain, amateur, cache = tiny_model(), tiny_model(seed=1), {"cache_implementation": "static"} if static else {}
    expected = texts(plain, logits_processor=[TAPPED[name](plain, amateur)])
    model = COMPILED["model.compile()"](tiny_model())
    before = TAPPED[name](model, amateur)
    assert texts(model, logits_processor=[before], **cache) == expected
    used = COMPILED["model.compile()"](tiny_model())
    torch.compiler.reset()
    texts(used, **cache)
    late = TAPPED[name](used, amateur)
    try:
        assert texts(used, logits_processor=[late], **cache) == expected
    except ValueError as error:
        assert re.search(r"is compiled, and what was compiled before a decoder was made.*force_eager", str(error))  # noqa: PT017
    torch.compiler.reset()
    assert texts(used, logits_processor=[late], **cache) == expected


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
def test_what_generate_compiles_has_no_breaks_by_a_decoder_that_lives() -> None:
    model = tiny_model()
    used = DoLaLogitsProcessor(model, layers=[1])
    call = model.get_compiled_call(CompileConfig(fullgraph=True, backend="eager", mode=None))
    torch.testing.assert_close(call(IDS, attention_mask=MASK).logits, tiny_model()(IDS, attention_mask=MASK).logits)
    with pytest.raises(ValueError, match="pass disable_compile=True"):
        used.tap.states(IDS[:, :-1])


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.filterwarnings("ignore:While compiling, we found certain side effects")  # of transformers' own
@pytest.mark.parametrize("strict", [False, True])
def test_a_model_is_exported_as_if_no_decoder_lived(strict: bool) -> None:
    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = tiny_model()

        def forward(self, ids: Tensor) -> Tensor:
            return self.model(input_ids=ids, use_cache=False).logits

    module = Logits()
    used = DoLaLogitsProcessor(module.model, layers=[1])
    exported = torch.export.export(module, (IDS,), strict=strict).module()
    torch.testing.assert_close(exported(IDS), module(IDS))
    assert used.layers == (1,)
