"""Contrastive search and drafts on models that also see: text alone is as on a text model, a picture is seen or refused."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

import every_family
import references
from counterpoint.decoders import (
    ContrastiveDecodingLogitsProcessor,
    ContrastiveSearchLogitsProcessor,
    candidate_method,
    contrastive_search,
    speculative_contrastive_decoding,
)
from every_family import WORDS

ALPHA, K, STEPS = 0.6, 3, 5
RULE: dict[str, Any] = {"custom_generate": contrastive_search, "penalty_alpha": ALPHA, "top_k": K}
PLAIN: dict[str, Any] = {"max_new_tokens": STEPS, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
SETTINGS: dict[str, dict[str, Any]] = {
    "gemma3:Gemma3ForConditionalGeneration": dict(mm_tokens_per_image=4),
    "qwen3_vl:Qwen3VLForConditionalGeneration": dict(vision_config=dict(deepstack_visual_indexes=[0, 1])),
    "llava:LlavaForConditionalGeneration": {},
    "mistral3:Mistral3ForConditionalGeneration": {},
    "internvl:InternVLForConditionalGeneration": dict(vision_config=dict(image_size=[56, 56])),
}
"""Families, with what lets a small picture be a few tokens."""
TEXT = [*range(30, 39)]

by_family = pytest.mark.parametrize("name", SETTINGS)


@cache
def build(name: str, seed: int = 0) -> PreTrainedModel:
    """The model, the same object at every call."""
    return every_family.build(name, seed, **SETTINGS[name])


def new(model: PreTrainedModel, ids: Tensor, **kwargs: Any) -> list[list[int]]:
    """The tokens that ``generate`` appends."""
    arguments = {"attention_mask": torch.ones_like(ids)} | PLAIN | kwargs
    tokens: list[list[int]] = model.generate(ids, **arguments)[:, ids.shape[1] :].tolist()
    return tokens


def picture(model: PreTrainedModel, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """A prompt with a picture of four tokens in it, and what the model takes besides the ids."""
    config: Any = model.config
    torch.manual_seed(seed)
    ids = torch.tensor([[9, *[config.image_token_id] * 4, 11, 12, 13, 40, 41]])
    vision = config.vision_config
    if config.model_type == "qwen3_vl":
        side, depth = 2 * vision.spatial_merge_size, 3 * vision.temporal_patch_size * vision.patch_size**2
        grid = torch.tensor([[1, side, side]])
        marks = (ids == config.image_token_id).long()
        ids[0, 0] = config.vision_start_token_id  # by which generate counts a row's pictures in some releases
        return ids, {"pixel_values": torch.randn(side * side, depth), "image_grid_thw": grid, "mm_token_type_ids": marks}
    side = 56 if config.model_type in ("mistral3", "internvl") else 28
    inputs = {"pixel_values": torch.randn(1, 3, side, side)}
    if config.model_type == "mistral3":
        inputs["image_sizes"] = torch.tensor([[side, side]])
    if config.model_type == "gemma3":
        inputs["token_type_ids"] = (ids == config.image_token_id).long()
    return ids, inputs


def words_alone(input_ids: Tensor, scores: Tensor) -> Tensor:
    """No token that stands for a picture: written, it would be looked for among the inputs."""
    return torch.cat([scores[:, :WORDS], torch.full_like(scores[:, WORDS:], -torch.inf)], dim=1)


class WithPicture:
    """A model as references call it, with a picture before every text."""

    def __init__(self, model: PreTrainedModel, inputs: dict[str, Tensor]) -> None:
        self.model: Any = model
        self.config, self.inputs = model.config, inputs

    def __call__(self, input_ids: Tensor, **kwargs: Any) -> Any:
        inputs = {
            name: torch.nn.functional.pad(value, (0, input_ids.shape[1] - value.shape[1])) if name.endswith("type_ids") else value
            for name, value in self.inputs.items()
        }
        return self.model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids), **inputs, **kwargs)


@by_family
def test_text_alone_takes_the_tree(name: str) -> None:
    model = build(name)
    assert candidate_method(model) == ("tree", "the tree was measured to be equal on this model")
    ids = torch.tensor([[0, 0, *TEXT[:5]], TEXT[:7]])
    expected = [references.contrastive_search(model, row, ALPHA, K, STEPS).tokens for row in (ids[:1, 2:], ids[1:])]
    mask = (ids > 0).long()
    marks = "token_type_ids" if name.startswith("gemma3") else "mm_token_type_ids"  # as processors send them with text alone
    told = {marks: torch.zeros_like(ids)} if name.startswith(("gemma3", "qwen")) else {}
    assert new(model, ids, attention_mask=mask, candidates="tree", **told, **RULE) == expected
    processor = ContrastiveSearchLogitsProcessor(model, penalty_alpha=ALPHA, top_k=K)
    assert new(model, ids, attention_mask=mask, logits_processor=[processor], **told) == expected


@by_family
def test_text_alone_is_drafted(name: str) -> None:
    model, amateur, ids = build(name), build(name, seed=1), torch.tensor([TEXT])
    plain = new(model, ids, logits_processor=[ContrastiveDecodingLogitsProcessor(amateur)])
    assert new(model, ids, custom_generate=speculative_contrastive_decoding, amateur=amateur) == plain


@by_family
def test_a_picture_is_seen(name: str) -> None:
    """With a cache as from scratch, in several rows, and another picture is another text."""
    model = build(name)
    ids, inputs = picture(model, seed=1)
    expected, other = (
        references.contrastive_search(WithPicture(model, seen), ids, ALPHA, K, STEPS, processors=[words_alone])
        for seen in (inputs, picture(model, seed=2)[1])
    )
    processors: dict[str, Any] = {"logits_processor": [words_alone]}
    assert new(model, ids, **inputs, **RULE, **processors) == [expected.tokens]
    assert new(model, ids, **inputs, **RULE, **processors, use_cache=False) == [expected.tokens]
    assert other.margins != expected.margins


@by_family
def test_a_picture_that_would_not_be_seen_is_refused(name: str) -> None:
    model = build(name)
    ids, inputs = picture(model, seed=1)
    with pytest.raises(ValueError, match=r"(mm_encoder_outputs|pixel_values).*use custom_generate=contrastive_search"):
        new(model, ids, **inputs, logits_processor=[ContrastiveSearchLogitsProcessor(model)])
    with pytest.raises(ValueError, match=r"(mm_encoder_outputs|pixel_values).*knows texts of ids only"):
        new(model, ids, **inputs, custom_generate=speculative_contrastive_decoding, amateur=build(name, seed=1))


def test_a_second_text_leaves_the_pictures_positions_alone() -> None:
    """Qwen-VL keeps in a module how far its positions run ahead of its tokens."""
    model: Any = build("qwen3_vl:Qwen3VLForConditionalGeneration")
    ids, inputs = picture(model, seed=1)
    before = new(model, ids, **inputs)
    deltas = model.model.rope_deltas
    assert bool(deltas.any())
    ContrastiveSearchLogitsProcessor(model)(torch.tensor([TEXT]), torch.zeros(1, every_family.VOCABULARY))
    assert model.model.rope_deltas is deltas
    assert new(model, ids, **inputs) == before
