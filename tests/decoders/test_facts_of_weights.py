"""What is tied, how wide a head is and which tokens a model knows is read from its weights, not from one of its configurations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from counterpoint.decoders import (
    ContrastiveDecodingLogitsProcessor,
    DoLaLogitsProcessor,
    EncoderDecoderAmateur,
    ModelAmateur,
    PromptAmateur,
    SLEDLogitsProcessor,
    contrastive_search,
    score,
)
from counterpoint.decoders.forwards.readable import looks_ahead
from counterpoint.decoders.layers.dola import candidate_layers
from every_family import build

EMBEDDED, LOGITS = 120, 100
IDS = torch.tensor([[3, 110, 5, 6], [7, 8, 9, 10]])
"""Token 110 has an embedding and no logit."""
GREEDY: dict[str, Any] = {"attention_mask": torch.ones_like(IDS), "max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}


def narrow_llama(seed: int, layers: int = 4) -> Any:
    """A model whose head has fewer tokens than its embeddings."""
    torch.manual_seed(seed)
    sizes = dict(vocab_size=EMBEDDED, hidden_size=32, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=4)
    model: Any = LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=False)).eval().requires_grad_(False)
    model.set_output_embeddings(nn.Linear(32, LOGITS, bias=False))
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.data.normal_(std=0.3)
    model.generation_config.eos_token_id = None
    return model.requires_grad_(False)


def share_storage(model: PreTrainedModel) -> bool:
    """Whether a change of the embeddings changes the head."""
    embeddings: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    before = head.weight.detach().clone()
    with torch.no_grad():
        embeddings.weight.add_(1.0)
    return not torch.equal(before, head.weight)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("part", [True, False])
def test_tied_is_what_shares_storage(whole: bool, part: bool) -> None:
    text = dict(num_hidden_layers=8, tie_word_embeddings=part)
    model = build("llava:LlavaForConditionalGeneration", text_config=text, tie_word_embeddings=whole)
    chosen = candidate_layers(model, "low")
    assert chosen == ((2,) if share_storage(model) else (0, 2))


@pytest.mark.parametrize("tied", [True, False])
def test_what_a_configuration_says_of_ties_does_not_count(tied: bool) -> None:
    model: Any = build("llama:LlamaForCausalLM", num_hidden_layers=8, tie_word_embeddings=not tied)
    weight = model.get_input_embeddings().weight
    model.lm_head.weight = weight if tied else nn.Parameter(weight.detach().clone())
    assert candidate_layers(model, "low") == ((2,) if tied else (0, 2))


@pytest.mark.parametrize("name", ["qwen2_vl:Qwen2VLForConditionalGeneration", "glm4v:Glm4vForConditionalGeneration"])
def test_composites_have_early_exits(name: str) -> None:
    model = build(name)
    assert DoLaLogitsProcessor(model, layers="high").layers == (1,)
    assert DoLaLogitsProcessor(model, layers="low").layers == ((2,) if share_storage(model) else (0,))


@pytest.mark.parametrize("alone", [True, False])
def test_a_contrast_over_a_narrow_head_is_the_one_computed_by_hand(alone: bool) -> None:
    model, amateur = narrow_llama(0), narrow_llama(1, layers=2)
    ids = IDS[:1] if alone else IDS
    processor = ContrastiveDecodingLogitsProcessor(amateur, alpha=0.1)
    found = model.generate(ids, **GREEDY | {"attention_mask": torch.ones_like(ids)}, logits_processor=[processor])
    for row, text in zip(ids, found, strict=True):
        for step in range(len(row), len(text)):
            p, q = (one(input_ids=text[None, :step]).logits[0, -1].log_softmax(-1) for one in (model, amateur))
            assert int((p - q).masked_fill(p < p.max() + torch.tensor(0.1).log(), -torch.inf).argmax()) == int(text[step])


def test_a_narrow_head_scores_what_it_has_logits_for() -> None:
    model = narrow_llama(0)
    p = model(input_ids=torch.tensor([[3, 110, 5, 6, 7]])).logits[0].log_softmax(-1)
    (found, _), *_ = score(model, None, [[3, 110, 5]], [[[6, 7], [8]]])
    assert found.total == pytest.approx(float(p[2, 6] + p[3, 7]), abs=1e-4)
    with pytest.raises(ValueError, match="token 110 of a continuation has no logit"):
        score(model, None, [[3, 110, 5]], [[[6, 110]]])


def test_as_many_tokens_as_the_head_has_can_be_asked_for() -> None:
    model = narrow_llama(0)
    assert SLEDLogitsProcessor(model, evolution_scale=LOGITS).evolution_scale == LOGITS
    with pytest.raises(ValueError, match=f"{LOGITS} tokens"):
        SLEDLogitsProcessor(model, evolution_scale=LOGITS + 1)
    with pytest.raises(ValueError, match=f"{LOGITS} tokens"):
        model.generate(IDS, **GREEDY, custom_generate=contrastive_search, penalty_alpha=0.6, top_k=LOGITS + 1)


def of_encoder_decoder(model: Any) -> Callable[[Tensor], Tensor]:
    return EncoderDecoderAmateur(model, {"input_ids": torch.tensor([[5, 6]])}).logits


UNKNOWN: dict[str, tuple[str, Callable[[Any], Callable[[Tensor], Any]]]] = {
    "model": ("llama:LlamaForCausalLM", lambda model: ModelAmateur(model).logits),
    "prompt": ("llama:LlamaForCausalLM", lambda model: PromptAmateur(model, {"input_ids": IDS[:1]}, prompt_length=2).logits),
    "encoder-decoder": ("bart:BartForConditionalGeneration", of_encoder_decoder),
    "scores": (
        "llama:LlamaForCausalLM",
        lambda model: (
            lambda ids: score(narrow_llama(0), None, [ids[0].tolist()], [[[6]]], ContrastiveDecodingLogitsProcessor(model))
        ),
    ),
}


@pytest.mark.parametrize("amateur", UNKNOWN)
def test_ids_that_an_amateur_does_not_know_are_refused_before_its_forward(amateur: str) -> None:
    name, make = UNKNOWN[amateur]
    model: Any = build(name, vocab_size=LOGITS)
    forwards: list[Any] = []
    model.get_input_embeddings().register_forward_pre_hook(lambda *given: forwards.append(given))
    with pytest.raises(ValueError, match=f"token 110 is none of the {LOGITS}"):
        make(model)(IDS[:1])
    assert not forwards


def test_an_encoder_is_given_what_it_reads() -> None:
    model = build("whisper:WhisperForConditionalGeneration")
    with pytest.raises(ValueError, match="input_features"):
        EncoderDecoderAmateur(model, {"input_ids": torch.tensor([[5, 6]])})


@pytest.mark.parametrize(("is_decoder", "ahead"), [(True, False), (False, True)])
def test_who_reads_in_both_directions_is_not_scored(is_decoder: bool, ahead: bool) -> None:
    model = build("bert:BertLMHeadModel", is_decoder=is_decoder)
    assert looks_ahead(model) == ahead
    if ahead:
        with pytest.raises(ValueError, match="both directions"):
            score(model, None, [[5, 6]], [[[7, 8]]])
