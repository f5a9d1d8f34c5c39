"""Early exits of every decoder-only architecture are what its own norm, projection, head and scaling make of a hidden state."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

import layer_references as reference
from counterpoint.decoders.forwards import layers
from counterpoint.decoders.forwards.layer_tap import LayerTap
from counterpoint.decoders.forwards.layers import EarlyExits, check_layers, decoder_layers, depth_of
from families import ALL, ENCODER_DECODER, FAMILY, Family, prompts

DECODER_ONLY = [family for family in ALL if family not in ENCODER_DECODER]
SCALED = ["cohere", "granite", "falcon_h1", "gemma2_sliding", "recurrent_gemma"]


def agree(model: PreTrainedModel, final_norm: bool) -> None:
    """Every layer's exit equals the reference's, and the last state's the model's own logits."""
    depth = depth_of(model)
    tap, final_tap, exits = LayerTap(model, range(depth)), LayerTap(model, [depth]), EarlyExits(model, final_norm)
    ids, _ = prompts(model, (9,))
    logits = model(ids, use_cache=False).logits[:, -1]
    early, final = exits(tap.states(ids)), exits.unembed(final_tap.states(ids)[0])
    expected = reference.exits(model, ids, range(depth), final_norm)
    torch.testing.assert_close(final, logits.float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(early[:, 0], expected.early.float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", DECODER_ONLY, ids=str)
@pytest.mark.parametrize("final_norm", [False, True], ids=["without norm", "with norm"])
def test_every_architecture(family: Family, final_norm: bool) -> None:
    agree(family.build(), final_norm)


def test_only_one_architecture_has_no_final_norm() -> None:
    """So that the two settings differ everywhere else, and a norm that was not found would show."""
    for family in DECODER_ONLY:
        model = family.build()
        ids, _ = prompts(model, (9,))
        plain, normed = (reference.exits(model, ids, [1], final_norm).early for final_norm in (False, True))
        assert torch.allclose(plain, normed) == (family.name == "opt_350m"), family


@pytest.mark.parametrize("name", SCALED)
def test_logits_left_unscaled_are_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the library itself, before anyone decodes by them."""
    monkeypatch.setattr(layers, "rescaled", lambda logits, factor, cap: logits)
    with pytest.raises(ValueError, match="does not unembed its last hidden state in a way that early exits can follow"):
        agree(FAMILY[name].build(), True)


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt_350m"])
def test_a_step_left_out_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = EarlyExits._probe
    monkeypatch.setattr(EarlyExits, "_probe", lambda self, *parts: ([], *probe(self, *parts)[1:]))
    with pytest.raises((ValueError, RuntimeError)):
        agree(FAMILY[name].build(), True)


def test_the_norm_where_none_belongs_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """DoLa's and SLED's released codes leave it out (law L8)."""
    init = EarlyExits.__init__
    monkeypatch.setattr(EarlyExits, "__init__", lambda self, model, final_norm: init(self, model, True))
    with pytest.raises(AssertionError):
        agree(FAMILY["llama"].build(), False)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_dtypes(dtype: torch.dtype) -> None:
    """In float32 from the head on, which the model's own rounding precedes."""
    config: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=96, **config)).to(dtype).eval()
    ids, tap = torch.arange(7)[None], LayerTap(model, [2])
    exits = EarlyExits(model, final_norm=False)
    with torch.no_grad():
        logits = model(ids).logits[:, -1]
        found = exits.unembed(tap.states(ids)[0])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, logits.float(), atol=1e-2, rtol=1e-2)


def test_layers_out_of_range_are_refused_by_name() -> None:
    assert check_layers([0, 2], 3) == (0, 2)
    for wrong in ([3], [0, -1], []):
        with pytest.raises(ValueError, match=r"early exits of this model are 0 \(the embeddings\) to 2"):
            check_layers(wrong, 3)


@pytest.mark.parametrize("family", ENCODER_DECODER, ids=str)
def test_encoder_decoder_models_are_refused_by_name(family: Family) -> None:
    with pytest.raises(ValueError, match="is an encoder-decoder model; early exits are defined for decoder-only ones"):
        decoder_layers(family.build())


def test_a_model_without_output_embeddings_is_refused_by_name() -> None:
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=96, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    )
    model.get_output_embeddings = lambda: None  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"get_output_embeddings\(\) gives None"):
        EarlyExits(model, final_norm=False)
