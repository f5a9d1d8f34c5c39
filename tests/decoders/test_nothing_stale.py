"""What an object keeps of a model ends with the call that made it, however the weights change and however the call ends."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import LogitsProcessor, PreTrainedModel, UnbatchedClassifierFreeGuidanceLogitsProcessor

import contrast_references as references
from counterpoint.decoders import (
    ContrastiveSearchLogitsProcessor,
    DoLaLogitsProcessor,
    EncoderDecoderAmateur,
    FrustratinglySimpleLogitsProcessor,
    ModelAmateur,
    SLEDLogitsProcessor,
    VectorAntiLanguageModel,
)
from counterpoint.decoders.forwards.candidates import TreeForward
from counterpoint.decoders.forwards.lifetime import Lifetime
from counterpoint.decoders.law_tools import change_weights
from counterpoint.decoders.testing import tiny_model
from families import FAMILY

IDS = torch.tensor([[5, 9, 11, 30, 7, 9, 11]])
PLAIN: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}


def adapted() -> PeftModel:
    """A model with two adapters of random weights, the first one active."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        config = LoraConfig(target_modules=["q_proj", "down_proj"], r=4, init_lora_weights=False)
        model = get_peft_model(tiny_model(), config, adapter_name="one")
        model.add_adapter("other", config)
    return model.eval()


def replaced_by_data(model: nn.Module) -> None:
    for weight in model.parameters():
        weight.data = weight.data * 1.5


def replaced(model: nn.Module) -> None:
    layer: Any = model.get_submodule("model.layers.1.mlp.up_proj")
    layer.weight = nn.Parameter(layer.weight * 1.5)


def trained(model: nn.Module) -> None:
    with torch.no_grad():
        model.get_parameter("model.layers.0.mlp.up_proj.weight").mul_(1.5)


def trained_in_inference_mode(model: nn.Module) -> None:
    with torch.inference_mode():
        model.get_parameter("model.layers.0.mlp.up_proj.weight").mul_(1.5)


@pytest.mark.parametrize("change", [replaced_by_data, replaced, trained, trained_in_inference_mode, nn.Module.double])
def test_in_a_loop_of_ones_own_a_change_that_leaves_a_trace_is_seen(change: Callable[[nn.Module], Any]) -> None:
    model = tiny_model()
    amateur = ModelAmateur(model)
    amateur.logits(IDS[:, :-1])
    change(model)
    expected = references.logits_after(model, IDS[0])
    torch.testing.assert_close(amateur.logits(IDS)[0], expected.float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("change", [lambda peft: peft.set_adapter("other"), lambda peft: peft.base_model.disable_adapter_layers()])
def test_other_adapters_are_seen(change: Callable[[PeftModel], Any]) -> None:
    peft = adapted()
    base: Any = peft.get_base_model()
    lifetime, amateur = Lifetime(base), ModelAmateur(base)
    amateur.logits(IDS[:, :-1])
    assert lifetime.ended()
    assert not lifetime.ended()
    change(peft)
    assert lifetime.ended()
    torch.testing.assert_close(amateur.logits(IDS)[0], references.logits_after(base, IDS[0]), atol=1e-4, rtol=1e-4)


def test_weights_without_a_version_are_compared_too() -> None:
    with torch.inference_mode():
        model = nn.Linear(2, 2)
    lifetime = Lifetime(model)
    assert lifetime.ended()
    assert not lifetime.ended()
    with torch.inference_mode():
        model.weight = nn.Parameter(torch.zeros(2, 2), requires_grad=False)
    assert lifetime.ended()


@pytest.mark.parametrize("change", [lambda peft: peft.merge_adapter(), change_weights, nn.Module.bfloat16])
@pytest.mark.parametrize("make", [ContrastiveSearchLogitsProcessor, lambda model: DoLaLogitsProcessor(model, layers=[0, 1])])
def test_a_new_generate_begins_anew(make: Callable[[PreTrainedModel], LogitsProcessor], change: Callable[[Any], Any]) -> None:
    peft = adapted()
    base: Any = peft.get_base_model()
    used = make(base)
    output: dict[str, Any] = {"return_dict_in_generate": True, "output_scores": True, **PLAIN}
    base.generate(IDS, logits_processor=[used], **output)
    change(peft)
    found, expected = (base.generate(IDS, logits_processor=[each], **output) for each in (used, make(base)))
    assert found.sequences.tolist() == expected.sequences.tolist()
    torch.testing.assert_close(torch.stack(found.scores), torch.stack(expected.scores), atol=0, rtol=0)


def test_an_encoder_is_asked_again() -> None:
    model = deepcopy(FAMILY["bart"].build())
    inputs = {"input_ids": torch.tensor([[5, 6, 7]])}
    amateur, ids = EncoderDecoderAmateur(model, inputs), torch.tensor([[2, 9]])
    before = amateur.logits(ids)
    with torch.no_grad():
        for weight in model.get_encoder().parameters():
            weight.mul_(1.5)
    found = amateur.logits(ids)
    assert not torch.allclose(found, before, atol=1e-2)
    expected = model(**inputs, decoder_input_ids=ids).logits[:, -1]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_an_interrupted_forward_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while candidates are in the cache, in a loop that calls the processor again."""
    model = tiny_model()
    scores = torch.linspace(-1.0, 1.0, 96)[None]
    used = ContrastiveSearchLogitsProcessor(model)
    used(IDS[:, :-1], scores)
    keep = TreeForward._keep

    def interrupted(self: TreeForward, k: int, chosen: Tensor) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TreeForward, "_keep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        used(IDS, scores)
    monkeypatch.setattr(TreeForward, "_keep", keep)
    longer = torch.cat([IDS, torch.tensor([[8]])], dim=1)
    torch.testing.assert_close(used(longer, scores), ContrastiveSearchLogitsProcessor(model)(longer, scores), atol=1e-5, rtol=1e-5)


def frustrated(model: PreTrainedModel) -> LogitsProcessor:
    return FrustratinglySimpleLogitsProcessor(VectorAntiLanguageModel(model))


@pytest.mark.parametrize("make", [lambda model: DoLaLogitsProcessor(model, layers=[0, 1]), SLEDLogitsProcessor, frustrated])
def test_states_of_another_call_are_not_taken(make: Callable[[PreTrainedModel], LogitsProcessor]) -> None:
    """The same text in another model's ``generate``, after the forward that the processor saw."""
    model, other = tiny_model(), tiny_model(seed=4)
    used = make(model)
    model(IDS)
    with pytest.raises(ValueError, match="is this the model that generates"):
        other.generate(IDS, logits_processor=[used], **PLAIN)
    model.generate(IDS, logits_processor=[used], **(PLAIN | {"max_new_tokens": 1}))
    with pytest.raises(ValueError, match="is this the model that generates"):
        other.generate(IDS, logits_processor=[used], **PLAIN)


@pytest.mark.parametrize("make", [lambda model: DoLaLogitsProcessor(model, layers=[0, 1]), SLEDLogitsProcessor, frustrated])
def test_a_forward_of_another_processor_is_not_the_model_s(make: Callable[[PreTrainedModel], LogitsProcessor]) -> None:
    """Classifier-free guidance runs the model on its last token, or on a negative prompt."""
    model = tiny_model()
    negative = torch.tensor([[4, 4, 8]])
    for arguments in ({}, {"negative_prompt_ids": negative}):
        found = model.generate(IDS, logits_processor=[make(model)], guidance_scale=1.7, **arguments, **PLAIN)
        ids = IDS
        for _ in range(6):  # guidance first, then the model again, so that its own forward is the latest
            texts = [negative, ids[:, IDS.shape[1] :]] if arguments else [ids[:, IDS.shape[1] - 1 :]]
            own, without = (model(text).logits[:, -1].log_softmax(-1) for text in (ids, torch.cat(texts, dim=1)))
            processor = make(model)
            model(ids)
            scores = processor(ids, 1.7 * (own - without) + without)
            ids = torch.cat([ids, scores.argmax(-1, keepdim=True)], dim=1)
        assert found.tolist() == ids.tolist()


def test_guidance_is_what_the_reference_says() -> None:
    model = tiny_model()
    guidance: Any = UnbatchedClassifierFreeGuidanceLogitsProcessor(1.7, model)
    own, without = (model(ids).logits[:, -1].log_softmax(-1) for ids in (IDS, IDS[:, -1:]))
    torch.testing.assert_close(guidance(IDS, model(IDS).logits[:, -1]), 1.7 * (own - without) + without, atol=1e-4, rtol=1e-4)
