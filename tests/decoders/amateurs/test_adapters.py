"""One model, its adapter on for one side of the contrast and off for the other."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PrefixTuningConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor
from transformers import PreTrainedModel

import contrast_references as references
import processor_laws as laws
from counterpoint.decoders import AdapterAmateur, ContrastiveDecodingLogitsProcessor
from counterpoint.decoders.undoing import Change, together
from families import FAMILY
from processor_laws import ROWS, Batch, Case, Processor, Row, Score

LLAMA = FAMILY["llama"]
LORA: dict[str, Any] = {"target_modules": ["q_proj", "down_proj"], "r": 4}


def adapted(name: str = "llama", *adapters: str, **config: Any) -> PeftModel:
    """A copy of a family's model with adapters of random weights, the first one active."""
    first, *others = adapters or ("default",)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = get_peft_model(deepcopy(FAMILY[name].build()), LoraConfig(**(LORA | config)), adapter_name=first)
        for other in others:
            model.add_adapter(other, LoraConfig(**(LORA | config)))
        for parameter, weight in model.named_parameters():
            if "lora_B" in parameter:
                torch.nn.init.normal_(weight, std=0.5)
    model.eval()
    return model


def off(model: PeftModel) -> PreTrainedModel:
    """The model that generates, without its adapters."""
    model.base_model.disable_adapter_layers()
    found: PreTrainedModel = model.get_base_model()
    return found


def alone(model: PeftModel, adapter: str | None) -> PreTrainedModel:
    """A copy that has nothing but this adapter, in its weights."""
    copy = deepcopy(model)
    if adapter is None:
        return copy.unload()
    copy.base_model.enable_adapter_layers()
    copy.set_adapter(adapter)
    return copy.merge_and_unload()


def adapter_case(model: PeftModel, adapter: str | None) -> Case:
    """Induce-then-contrast: what the model says under an adapter, or under none, is what to stay away from."""
    amateur = alone(model, adapter)

    def build(base: PreTrainedModel, batch: Batch) -> Sequence[Processor]:
        return [ContrastiveDecodingLogitsProcessor(AdapterAmateur(base, adapter=adapter))]

    def reference(base: PreTrainedModel) -> Score:
        def score(row: Row, scores: Tensor) -> Tensor:
            return references.contrast(scores, references.logits_after(amateur, row.text), references.ratio(), alpha=0.1)

        return score

    return Case(f"adapter {adapter}", build, reference)


def state(model: PeftModel) -> list[tuple[Any, ...]]:
    """What PEFT's own switches change."""
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    flags = [(layer.disable_adapters, tuple(layer.active_adapters)) for layer in layers]
    return [*flags, *((name, weight.requires_grad) for name, weight in model.named_parameters())]


@pytest.mark.parametrize("name", ["llama", "gemma3_sliding", "mamba"])
@pytest.mark.parametrize("mode", ["greedy", "beams", "beam sample", "finished rows"])
def test_an_adapter_against_the_plain_model(name: str, mode: str) -> None:
    peft = adapted(name) if name != "mamba" else adapted(name, target_modules=["in_proj"])
    case, base = adapter_case(peft, "default"), off(peft)
    batch = laws.batch_of(FAMILY[name], base)
    laws.equals_the_reference(case, base, batch, **ROWS[mode])
    assert laws.tokens(base, batch, []) == laws.tokens(FAMILY[name].build(), batch, []), "the expert runs under the adapter"


@pytest.mark.parametrize("mode", ["greedy", "beams"])
def test_a_tuned_model_against_its_base(mode: str) -> None:
    peft = adapted()
    base = peft.get_base_model()
    laws.equals_the_reference(adapter_case(peft, None), base, laws.batch_of(LLAMA, base), **ROWS[mode])


@pytest.mark.parametrize("mode", ["greedy", "beams"])
def test_one_adapter_against_another(mode: str) -> None:
    peft = adapted("llama", "honest", "lying")
    base = peft.get_base_model()
    laws.equals_the_reference(adapter_case(peft, "lying"), base, laws.batch_of(LLAMA, base), **ROWS[mode])


def test_laws() -> None:
    peft = adapted()
    case, base = adapter_case(peft, "default"), off(peft)
    batch = laws.batch_of(LLAMA, base)
    laws.rows_are_independent(case, base, batch)
    laws.bans_hold(case, base, batch)
    laws.inputs_stay(case, base, batch)
    laws.drafts_change_nothing(case, base, batch, assistant_model=base)


def test_through_the_peft_model() -> None:
    """Its own ``generate``, with embeddings trained beside the adapter."""
    peft = adapted(modules_to_save=["lm_head"])
    peft.requires_grad_(False)
    peft.base_model.model.lm_head.modules_to_save["default"].weight.mul_(-1.0)
    amateur, base = alone(peft, "default"), off(peft)
    batch = laws.batch_of(LLAMA, base)
    found = laws.tokens(peft, batch, [ContrastiveDecodingLogitsProcessor(AdapterAmateur(peft))])
    assert found == laws.tokens(LLAMA.build(), batch, [ContrastiveDecodingLogitsProcessor(amateur)])


def test_no_weight_is_copied() -> None:
    peft = adapted()
    before = {weight.data_ptr() for weight in peft.parameters()}
    amateur = AdapterAmateur(peft)
    base = off(peft)
    laws.generate(base, laws.batch_of(LLAMA, base), [ContrastiveDecodingLogitsProcessor(amateur)])
    assert {weight.data_ptr() for weight in peft.parameters()} == before
    assert {weight.data_ptr() for weight in amateur.model.parameters()} == before


def test_the_adapters_are_left_as_they_were() -> None:
    peft = adapted("llama", "honest", "lying")
    base, before = peft.get_base_model(), state(peft)
    laws.generate(base, laws.batch_of(LLAMA, base), [ContrastiveDecodingLogitsProcessor(AdapterAmateur(base, adapter="lying"))])
    assert state(peft) == before


def test_also_where_a_forward_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    peft = adapted()
    base = off(peft)
    amateur, before = AdapterAmateur(peft), state(peft)
    batch = laws.batch_of(LLAMA, base)
    calls: list[bool] = []

    def fail(module: Any, arguments: Any) -> None:
        calls.append(base.model.layers[0].self_attn.q_proj.disable_adapters)
        raise RuntimeError("out of memory")

    handle = base.model.layers[1].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        amateur.logits(batch.alone(0).ids)
    handle.remove()
    assert calls == [False], "the adapter was not on"
    assert state(peft) == before
    expected = references.logits_after(alone(peft, "default"), batch.alone(0).ids[0])
    torch.testing.assert_close(amateur.logits(batch.alone(0).ids)[0], expected, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_contrasted_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    peft = adapted()
    ids = laws.batch_of(LLAMA, peft.get_base_model()).alone(0).ids
    with pytest.raises(ValueError, match=r"adapter='default' is also what the expert runs under.*disable_adapter_layers"):
        AdapterAmateur(peft).logits(ids)
    with pytest.raises(ValueError, match=r"adapter='lying': the layers of LlamaForCausalLM have default"):
        AdapterAmateur(peft, adapter="lying")
    with pytest.raises(ValueError, match=r"adapter=None is also what the expert runs under.*turn it on for the expert"):
        AdapterAmateur(off(peft), adapter=None).logits(ids)
    peft.merge_adapter()
    with pytest.raises(ValueError, match="unmerge_adapter"):
        AdapterAmateur(peft)
    with pytest.raises(ValueError, match="the layers of LlamaForCausalLM have none"):
        AdapterAmateur(LLAMA.build())
    with pytest.raises(ValueError, match="PREFIX_TUNING puts tokens of its own before the text"):
        AdapterAmateur(get_peft_model(deepcopy(LLAMA.build()), PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")))
    monkeypatch.setitem(sys.modules, "peft.tuners.tuners_utils", None)
    with pytest.raises(ImportError, match=r"pip install counterpoint\[adapters\]"):
        AdapterAmateur(LLAMA.build())


def test_broken_switches_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that stays on, and one that was never turned."""
    peft = adapted()
    case, base = adapter_case(peft, "default"), off(peft)
    batch = laws.batch_of(LLAMA, base)
    switched = AdapterAmateur._switched

    def stuck(self: AdapterAmateur) -> Change:
        before = [module for module in self.tuned if module.disable_adapters]
        whole = switched(self)
        return Change(whole.make, lambda: (whole.undo(), [vars(module).update(_disable_adapters=False) for module in before[:1]]))

    monkeypatch.setattr(AdapterAmateur, "_switched", stuck)
    with pytest.raises((AssertionError, ValueError)):
        laws.equals_the_reference(case, base, batch)
    off(peft)
    monkeypatch.setattr(AdapterAmateur, "_switched", lambda self: together())
    with pytest.raises(AssertionError, match="first time"):
        laws.equals_the_reference(case, base, batch)
