"""With a picture in the prompt, decoders are right by references without a cache, or say what they cannot see."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor

import contrast_references
import layer_references
from counterpoint.decoders import (
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    DoLaLogitsProcessor,
    LastTokenAmateur,
    SLEDLogitsProcessor,
)
from every_family import build
from family_sweep import CLOSE, STEPS, each
from family_sweep import words as text

NAMES = {
    "gemma3": "Gemma3ForConditionalGeneration",
    "qwen3_vl": "Qwen3VLForConditionalGeneration",
    "llava": "LlavaForConditionalGeneration",
    "mistral3": "Mistral3ForConditionalGeneration",
    "internvl": "InternVLForConditionalGeneration",
}
OTHER = text(4, 9)


class Seeing:
    """A model with a prompt about a picture."""

    def __init__(self, name: str) -> None:
        self.model: Any = build(f"{name}:{NAMES[name]}")
        self.plain: Any = build(f"{name}:{NAMES[name]}")  # another object: nothing left in modules reaches the references
        config = self.model.config
        vision = config.vision_config
        token = config.image_token_id
        self.extra: dict[str, Any] = {}
        if name == "qwen3_vl":
            merged, patch = vision.spatial_merge_size, vision.patch_size
            grid = torch.tensor([[1, 2 * merged, 2 * merged]])
            width = vision.in_channels * vision.temporal_patch_size * patch * patch
            self.extra = {"pixel_values": torch.randn(int(grid.prod()), width), "image_grid_thw": grid}
            places = 4
        else:
            size = vision.image_size if isinstance(vision.image_size, int) else vision.image_size[0]
            self.extra = {"pixel_values": torch.randn(1, 3, size, size)}
            if name == "mistral3":
                self.extra["image_sizes"] = torch.tensor([[size, size]])
            places = self.model.get_image_features(**self.extra).pooler_output
            places = places[0].shape[0] if isinstance(places, (list, tuple)) else places.shape[-2]
        self.prompt = torch.tensor([[9, *[token] * places, *text(5, 3)]])
        if name in ("qwen3_vl", "gemma3"):
            marks = "mm_token_type_ids" if name == "qwen3_vl" else "token_type_ids"
            self.extra[marks] = (self.prompt == token).long()

    def generate(self, *processors: Any) -> Any:
        settings = dict(max_new_tokens=STEPS, do_sample=False, eos_token_id=None, pad_token_id=0, return_dict_in_generate=True)
        mask = torch.ones_like(self.prompt)
        return self.model.generate(
            self.prompt, attention_mask=mask, **self.extra, logits_processor=list(processors), output_scores=True, **settings
        )

    @torch.no_grad()
    def logits(self, new: Tensor, exit_at: int | None = None) -> Tensor:
        """Logits from which each new token is predicted, of the whole text with its picture; of an early exit if asked."""
        ids = torch.cat([self.prompt, new[None, :-1]], dim=1)
        extra = {
            name: torch.nn.functional.pad(value, (0, ids.shape[1] - value.shape[1])) if "token_type" in name else value
            for name, value in self.extra.items()
        }
        read = partial(self.plain, input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **extra)
        if exit_at is None:
            return read().logits[0, self.prompt.shape[1] - 1 :]
        early = read(output_hidden_states=True).hidden_states[exit_at]
        handle = self.plain.get_output_embeddings().register_forward_pre_hook(lambda head, arguments: (early,))
        try:
            return read().logits[0, self.prompt.shape[1] - 1 :]
        finally:
            handle.remove()

    @torch.no_grad()
    def logits_without(self, new: Tensor) -> Tensor:
        """The same, after another prompt without a picture."""
        ids = torch.tensor([[*OTHER, *new[:-1].tolist()]])
        return self.plain(input_ids=ids, use_cache=False).logits[0, len(OTHER) - 1 :]


@cache
def seeing(name: str) -> Seeing:
    torch.manual_seed(0)
    return Seeing(name)


def difference(output: Any, expected: Tensor) -> float:
    """How far the scores that generate used are from those computed anew, where both allow a token."""
    found = torch.stack(output.scores)[:, 0].double()
    both = (found > -torch.inf) & (expected > -torch.inf)
    assert int(both.sum()) >= STEPS
    return float((found - expected.double())[both].abs().max())


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_is_seen_and_plain_generation_is_the_reference(name: str) -> None:
    subject = seeing(name)
    output = subject.generate()
    new = output.sequences[0, subject.prompt.shape[1] :]
    assert difference(output, subject.logits(new)) < CLOSE
    without = subject.plain(input_ids=subject.prompt, use_cache=False).logits[0, -1]
    assert float((without - subject.logits(new)[0]).abs().max()) > 10 * CLOSE


@pytest.mark.parametrize("name", NAMES)
def test_layers_are_those_of_the_forward_with_the_picture(name: str) -> None:
    subject = seeing(name)
    for processor, reference in ((DoLaLogitsProcessor, layer_references.dola), (SLEDLogitsProcessor, None)):
        output = subject.generate(processor(subject.model, layers=[0, 1]))
        new = output.sequences[0, subject.prompt.shape[1] :]
        final = subject.logits(new)
        early = torch.stack([subject.logits(new, layer) for layer in (0, 1)], dim=1)
        expected = each(reference, final, early) if reference else each(layer_references.sled, final, final, early)
        assert difference(output, expected) < 5 * CLOSE


@pytest.mark.parametrize("name", NAMES)
def test_context_aware_decoding_takes_the_picture_away(name: str) -> None:
    subject = seeing(name)
    output = subject.generate(ContextAwareLogitsProcessor(subject.model, {"input_ids": torch.tensor([OTHER])}, beta=0.5))
    new = output.sequences[0, subject.prompt.shape[1] :]
    contrast = partial(contrast_references.contrast, form=contrast_references.power(0.5), alpha=0.0)
    assert difference(output, each(contrast, subject.logits(new), subject.logits_without(new))) < CLOSE


@pytest.mark.parametrize("name", NAMES)
def test_an_amateur_of_the_whole_text_is_refused_and_one_of_its_end_is_not(name: str) -> None:
    subject = seeing(name)
    rival = build(f"{name}:{NAMES[name]}", seed=1)
    with pytest.raises(ValueError, match="PromptAmateur with a prompt of text alone"):
        subject.generate(ContrastiveDecodingLogitsProcessor(rival))
    assert (
        subject.generate(ContrastiveDecodingLogitsProcessor(LastTokenAmateur(rival))).sequences.shape[1] > subject.prompt.shape[1]
    )
