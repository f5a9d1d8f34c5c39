"""Deep copies and pickles: of models that are watched, of what watches them, and how decoders are shown."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from counterpoint.decoders import (
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    ContrastiveSearchLogitsProcessor,
    DoLaLogitsProcessor,
    EncoderDecoderAmateur,
    FrustratinglySimpleLogitsProcessor,
    LayerFusionLogitsProcessor,
    ModelAmateur,
    PooledAmateur,
    PromptAmateur,
    SLEDLogitsProcessor,
    TopNSigmaLogitsProcessor,
    VectorAntiLanguageModel,
    extrapolation,
)
from counterpoint.decoders.forwards.hooks import Hook
from counterpoint.decoders.testing import tiny_model
from families import FAMILY, prompts

PLAIN: dict[str, Any] = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
OTHER = {"input_ids": torch.tensor([[5, 9, 11]])}
MAKE: dict[str, Callable[[PreTrainedModel], Any]] = {
    "contrastive decoding": lambda model: ContrastiveDecodingLogitsProcessor(model, form=partial(extrapolation, beta=0.5)),
    "context-aware": lambda model: ContextAwareLogitsProcessor(model, OTHER),
    "pooled": lambda model: ContrastiveDecodingLogitsProcessor(PooledAmateur([ModelAmateur(model), PromptAmateur(model, OTHER)])),
    "contrastive search": lambda model: ContrastiveSearchLogitsProcessor(model),
    "dola": lambda model: DoLaLogitsProcessor(model, layers=[0, 1]),
    "sled": SLEDLogitsProcessor,
    "layer fusion": lambda model: LayerFusionLogitsProcessor(model, model, layers=[1]),
    "frustratingly simple": lambda model: FrustratinglySimpleLogitsProcessor(),
    "vectors": lambda model: FrustratinglySimpleLogitsProcessor(VectorAntiLanguageModel(model)),
    "top-n-sigma": lambda model: TopNSigmaLogitsProcessor(),
}
WATCHING = ("dola", "sled", "layer fusion", "vectors")
"""Those that read the forwards of the model that generates."""
COPY: dict[str, Callable[[Any], Any]] = {"deepcopy": deepcopy, "pickle": lambda value: pickle.loads(pickle.dumps(value))}  # noqa: S301


@pytest.fixture
def model() -> PreTrainedModel:
    """A model whose hooks are nobody else's."""
    return tiny_model()


def texts(model: PreTrainedModel, processor: Any) -> tuple[Tensor, Tensor]:
    """Ids, and the scores of every step."""
    ids, mask = prompts(model, (9,))
    kept = {"output_scores": True, "return_dict_in_generate": True}
    found = model.generate(ids, attention_mask=mask, logits_processor=[processor], **PLAIN, **kept)
    return found.sequences, torch.stack(found.scores)


def louder(model: PreTrainedModel) -> None:
    """Other weights."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.2)


def same(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    return all(map(torch.equal, one, other))


@pytest.mark.parametrize("how", COPY)
@pytest.mark.parametrize("name", MAKE)
def test_a_copy_of_both_works_on_its_own_model(name: str, how: str, model: PreTrainedModel) -> None:
    """Also after a use, with other weights than the original's, and whichever of the two is copied first."""
    processor = MAKE[name](model)
    before = texts(model, processor)
    for turn in (1, -1):
        copied = COPY[how]((processor, model)[::turn])
        other, clone = copied[::turn]
        assert same(texts(clone, other), before)
        louder(clone)
        changed = texts(clone, other)
        assert same(changed, texts(clone, MAKE[name](clone)))
        assert not same(changed, before)
    assert same(texts(model, processor), before)


@pytest.mark.parametrize("name", WATCHING)
def test_a_copied_model_shows_the_original_s_tap_nothing(name: str, model: PreTrainedModel) -> None:
    processor = MAKE[name](model)
    before = texts(model, processor)
    clone = deepcopy(model)
    louder(clone)
    with pytest.raises(ValueError, match="is this the model that generates"):
        texts(clone, processor)
    assert same(texts(model, processor), before)
    fresh = tiny_model()
    louder(fresh)
    assert same(texts(clone, MAKE[name](clone)), texts(fresh, MAKE[name](fresh)))


@pytest.mark.parametrize("name", WATCHING)
def test_hooks_that_are_copied_are_caught(name: str, model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hook, "__deepcopy__", lambda self, memo: self, raising=False)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test_a_copied_model_shows_the_original_s_tap_nothing(name, model)


def test_a_watched_model_is_saved_and_loaded_whole(model: PreTrainedModel) -> None:
    processors = [MAKE[name](model) for name in WATCHING]
    before = [texts(model, processor) for processor in processors]
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert all(same(texts(loaded, MAKE[name](loaded)), text) for name, text in zip(WATCHING, before, strict=True))


def test_an_encoder_s_states_are_not_copied() -> None:
    model = FAMILY["bart"].build()
    ids, _ = prompts(model, (6,))
    amateur = EncoderDecoderAmateur(model, {"input_ids": ids})
    before = amateur.logits(torch.tensor([[2, 9]]))
    copied = deepcopy(amateur)
    assert torch.equal(copied.logits(torch.tensor([[2, 9]])), before)
    louder(copied.model)
    assert not torch.equal(copied.logits(torch.tensor([[2, 9]])), before)
    assert torch.equal(amateur.logits(torch.tensor([[2, 9]])), before)


@pytest.mark.parametrize("name", MAKE)
def test_settings_are_shown(name: str, model: PreTrainedModel) -> None:
    shown = repr(MAKE[name](model))
    assert "0x" not in shown
    assert shown.startswith(type(MAKE[name](model)).__name__ + "(")


def test_how_they_are_shown(model: PreTrainedModel) -> None:
    assert repr(MAKE["contrastive decoding"](model)) == (
        "ContrastiveDecodingLogitsProcessor(amateur=ModelAmateur(model=LlamaForCausalLM), alpha=0.1, form=extrapolation(beta=0.5))"
    )
    assert repr(SLEDLogitsProcessor(model, layers=[1])) == (
        "SLEDLogitsProcessor(layers=[1], evolution_rate=2.0, evolution_scale=10, evolution_steps=1, evolution_lower_bound=-1000.0)"
    )
