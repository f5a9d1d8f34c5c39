"""Amateurs that see other pictures, against references without a cache: rows, beams, positions, and prompts of equal ids."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import SuppressTokensLogitsProcessor

import contrast_references
import layer_references
from counterpoint.decoders import (
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    DoLaLogitsProcessor,
    InputsAmateur,
    contrast,
    diffusion_noise,
    extrapolation,
    score,
)
from counterpoint.decoders.amateurs.inputs import keyed
from counterpoint.decoders.forwards import pictured_texts
from counterpoint.decoders.testing import tiny_model
from every_family import build
from family_sweep import CLOSE, STEPS
from family_sweep import words as text

NAMES = {
    "gemma3": "Gemma3ForConditionalGeneration",
    "qwen3_vl": "Qwen3VLForConditionalGeneration",
    "qwen2_vl": "Qwen2VLForConditionalGeneration",
    "llava": "LlavaForConditionalGeneration",
    "internvl": "InternVLForConditionalGeneration",
}


PLACED = ("qwen3_vl", "qwen2_vl")
"""Those with places of height and width, whose offset the model keeps in a module."""


class Pictures:
    """A tiny image-text model, and prompts about pictures for it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.model: Any = build(f"{name}:{NAMES[name]}")
        self.plain: Any = build(f"{name}:{NAMES[name]}")  # another object: nothing left in modules reaches the references
        self.model.config.get_text_config().max_position_embeddings = 512  # InternVL's picture alone fills 256

    def inputs(self, *seeds: int, before: int = 1, after: int = 3) -> dict[str, Tensor]:
        """A prompt for each seed of a picture, all of the same words."""
        rows = [self._one(seed, before, after) for seed in seeds]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    def _one(self, seed: int, before: int, after: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        config = self.model.config
        vision, token = config.vision_config, config.image_token_id
        if self.name in PLACED:
            merged, patch = vision.spatial_merge_size, vision.patch_size
            grid = torch.tensor([[1, 2 * merged, 2 * merged]])
            width = vision.in_channels * vision.temporal_patch_size * patch * patch
            extra = {"pixel_values": torch.randn(int(grid.prod()), width, generator=generator), "image_grid_thw": grid}
            places = 4
        else:
            size = vision.image_size if isinstance(vision.image_size, int) else vision.image_size[0]
            extra = {"pixel_values": torch.randn(1, 3, size, size, generator=generator)}
            found = self.plain.get_image_features(**extra).pooler_output
            places = found[0].shape[0] if isinstance(found, (list, tuple)) else found.shape[-2]
        ids = torch.tensor([[*text(7, before), *[token] * places, *text(5, after)]])
        if self.name in PLACED:
            ids[0, 6] = config.vision_start_token_id  # by which generate counts a row's pictures in some releases
        if self.name in (*PLACED, "gemma3"):
            extra["mm_token_type_ids" if self.name in PLACED else "token_type_ids"] = (ids == token).long()
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **extra}

    @torch.no_grad()
    def logits(self, prompt: dict[str, Tensor], new: Tensor) -> Tensor:
        """Logits from which each new token is predicted, of the whole text with its picture, without a cache."""
        ids = torch.cat([prompt["input_ids"], new[None, :-1]], dim=1)
        extra = {
            name: torch.nn.functional.pad(value, (0, ids.shape[1] - value.shape[1])) if "token_type" in name else value
            for name, value in prompt.items()
            if name not in ("input_ids", "attention_mask")
        }
        found: Tensor = self.plain(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **extra).logits
        return found[0, prompt["input_ids"].shape[1] - 1 :]

    def generate(self, prompt: dict[str, Tensor], *processors: Any, **settings: Any) -> Any:
        given = dict(max_new_tokens=STEPS, do_sample=False, eos_token_id=None, pad_token_id=0, return_dict_in_generate=True)
        return self.model.generate(**prompt, logits_processor=list(processors), output_scores=True, **{**given, **settings})


@cache
def pictures(name: str) -> Pictures:
    torch.manual_seed(0)
    return Pictures(name)


def visual(model: Any, other: Any, beta: float = 1.0, alpha: float = 0.1) -> ContrastiveDecodingLogitsProcessor:
    return ContrastiveDecodingLogitsProcessor(InputsAmateur(model, other), alpha=alpha, form=partial(extrapolation, beta=beta))


def check(subject: Pictures, output: Any, row: int, real: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """A row's scores are the formula's, from two forwards of whole texts."""
    new = output.sequences[row, real["input_ids"].shape[1] :]
    positive, negative = subject.logits(real, new), subject.logits(other, new)
    assert float((positive - negative).abs().max()) > 10 * CLOSE  # the other view is another one
    for step, scores in enumerate(output.scores):
        expected = contrast_references.contrast(positive[step], negative[step], contrast_references.power(1.0), 0.1)
        found = scores[row].double()
        both = (found > -torch.inf) & (expected > -torch.inf)
        assert int(both.sum()) >= 1
        assert float((found - expected)[both].abs().max()) < 2 * CLOSE


@pytest.mark.parametrize("name", NAMES)
def test_rows_with_the_same_words_and_other_pictures(name: str) -> None:
    """Prompts of equal ids are told apart by their pictures, also where all rows of a batch have the same ids for a while."""
    subject = pictures(name)
    real, other = subject.inputs(1, 2), subject.inputs(3, 4)
    output = subject.generate(real, visual(subject.model, other))
    for row in range(2):
        check(subject, output, row, subject.inputs(1 + row), subject.inputs(3 + row))


@pytest.mark.parametrize("name", NAMES)
def test_a_longer_prompt_has_its_own_positions(name: str) -> None:
    """An instruction before the same picture: other lengths, and on models that keep it in a module another offset."""
    subject = pictures(name)
    real, other = subject.inputs(1), subject.inputs(1, before=6, after=5)
    processor = visual(subject.model, other)
    output = subject.generate(real, processor)
    check(subject, output, 0, real, other)
    if name in PLACED:
        assert torch.equal(subject.model.model.rope_deltas, subject.model.model.get_rope_index(**real)[1])
    again = subject.generate(real, processor)
    assert torch.equal(again.sequences, output.sequences)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name != "qwen3_vl"]
)  # whose features generate cannot copy if it is tiny
def test_beams_and_samples_share_a_prompt(name: str) -> None:
    """Scores of all beams are those of the same texts one by one."""
    subject = pictures(name)
    real, other = subject.inputs(1, 2), subject.inputs(3, 4)
    calls: list[tuple[Tensor, Tensor]] = []
    processor = visual(subject.model, other)

    def noted(ids: Tensor, scores: Tensor) -> Tensor:
        calls.append((ids.clone(), scores.clone()))
        return scores

    place = subject.model.config.image_token_id  # where it is written, a text would need one more picture
    subject.generate(real, processor, noted, num_beams=3, max_new_tokens=4, suppress_tokens=[place])
    ids, found = calls[-1]
    for row in range(len(ids)):
        prompt = row // 3
        new = torch.cat([ids[row, real["input_ids"].shape[1] :], ids[row, -1:]])  # one more, which predicts nothing
        positive = subject.logits(subject.inputs(1 + prompt), new)[-1].index_fill(0, torch.tensor([place]), -math.inf)
        negative = subject.logits(subject.inputs(3 + prompt), new)[-1]
        expected = contrast_references.contrast(positive, negative, contrast_references.power(1.0), 0.1)
        both = (found[row] > -torch.inf) & (expected > -torch.inf)
        assert float((found[row].double() - expected)[both].abs().max()) < 2 * CLOSE


@pytest.mark.parametrize("name", NAMES)
def test_degenerate_settings_are_known_methods(name: str) -> None:
    subject = pictures(name)
    real = subject.inputs(1)
    greedy = subject.generate(real).sequences
    assert torch.equal(subject.generate(real, visual(subject.model, subject.inputs(3), beta=0.0)).sequences, greedy)
    assert torch.equal(subject.generate(real, visual(subject.model, real)).sequences, greedy)
    without = {"input_ids": torch.tensor([text(4, 9)])}
    found = subject.generate(real, visual(subject.model, without, beta=0.5, alpha=0.0))
    expected = subject.generate(real, ContextAwareLogitsProcessor(subject.model, without, beta=0.5))
    assert torch.equal(found.sequences, expected.sequences)
    for one, other in zip(found.scores, expected.scores, strict=True):
        torch.testing.assert_close(one, other)


def ln(subject: Pictures, prompt: dict[str, Tensor], text: list[int]) -> Tensor:
    """Log-probabilities of all tokens at each place of a text after a prompt with its picture."""
    return subject.logits(prompt, torch.tensor(text)).double().log_softmax(dim=-1)


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_scored_after_pictures(name: str) -> None:
    """Several texts of several prompts, of which one has no picture and two the same words, each as by itself without a cache."""
    subject = pictures(name)
    prompts = [subject.inputs(1), subject.inputs(2, before=4), [*text(4, 9)], subject.inputs(2)]
    texts = [[text(3, 1), text(3, 2), text(5, 3), [*text(3, 1)[:2], 8, 9, 7]]] * 3 + [[text(1, 4), text(4, 5)]]
    deltas = getattr(subject.model.model, "rope_deltas", None)
    scores = score(subject.model, None, prompts, texts)  # type: ignore[arg-type]
    assert getattr(subject.model.model, "rope_deltas", None) is deltas  # the module is as it was
    for prompt, own, found in zip(prompts, texts, scores, strict=True):
        given = prompt if isinstance(prompt, dict) else {"input_ids": torch.tensor([prompt])}
        for tokens, each in zip(own, found, strict=True):
            expected = ln(subject, given, tokens)[range(len(tokens)), tokens]
            torch.testing.assert_close(torch.tensor(each.log_probabilities).double(), expected, atol=CLOSE, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_contrasts_of_pictures_score(name: str) -> None:
    """Every prompt has its own other view, which may be longer."""
    subject = pictures(name)
    prompts, others = [subject.inputs(1), subject.inputs(2)], [subject.inputs(3, before=5), subject.inputs(4)]
    texts = [[text(3, 1), text(4, 2)], [text(1, 3)]]
    found = score(subject.model, None, prompts, texts, visual(subject.model, others, beta=0.7, alpha=0.0))
    for prompt, other, own, scores in zip(prompts, others, texts, found, strict=True):
        for tokens, each in zip(own, scores, strict=True):
            wanted = (1.7 * ln(subject, prompt, tokens) - 0.7 * ln(subject, other, tokens)).log_softmax(dim=-1)
            expected = wanted[range(len(tokens)), tokens]
            torch.testing.assert_close(torch.tensor(each.log_probabilities).double(), expected, atol=3 * CLOSE, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_scoring_gives_what_generation_used(name: str) -> None:
    subject = pictures(name)
    real, processor = subject.inputs(1), visual(subject.model, subject.inputs(3))
    place = subject.model.config.image_token_id  # where it is written, a text would need one more picture
    bans = SuppressTokensLogitsProcessor([place])
    output = subject.generate(real, bans, processor)
    new = output.sequences[0, real["input_ids"].shape[1] :].tolist()
    ((scored,),) = score(subject.model, None, [real], [[new]], [bans, processor])
    expected = torch.stack(output.scores)[:, 0].double().log_softmax(dim=-1)[range(len(new)), new]
    torch.testing.assert_close(torch.tensor(scored.log_probabilities).double(), expected, atol=3 * CLOSE, rtol=0)
    assert scored.greedy


def test_a_picture_of_another_prompt_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = pictured_texts.forward_prompt

    def wrong(model: Any, texts: Any, positions: Any, layers: Any, number: int) -> Any:
        return forward(model, replace(texts, beside=texts.beside[::-1]), positions, layers, number)

    monkeypatch.setattr(pictured_texts, "forward_prompt", wrong)
    with pytest.raises(AssertionError):
        test_contrasts_of_pictures_score("llava")


def test_positions_of_text_alone_after_a_picture_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    later = pictured_texts.later_positions
    monkeypatch.setattr(pictured_texts, "later_positions", lambda prompt, new, delta: later(prompt, new, None))
    with pytest.raises(AssertionError):
        test_texts_are_scored_after_pictures("qwen2_vl")


def test_layers_are_read_behind_pictures() -> None:
    """DoLa's scores of given texts, from early exits of forwards without a cache."""
    subject, tokens = pictures("llava"), text(4, 2)
    real = subject.inputs(1)
    ((found,),) = score(subject.model, None, [real], [[tokens]], DoLaLogitsProcessor(subject.model, layers=[0, 1], alpha=0.0))
    ids = torch.cat([real["input_ids"], torch.tensor([tokens[:-1]])], dim=1)
    with torch.no_grad():
        states = subject.plain(ids, pixel_values=real["pixel_values"], use_cache=False, output_hidden_states=True).hidden_states
        early = torch.stack([subject.plain.get_output_embeddings()(states[layer][0, -len(tokens) :]) for layer in (0, 1)], dim=1)
    final = subject.logits(real, torch.tensor(tokens))
    expected = torch.stack([layer_references.dola(last, exits, alpha=0.0) for last, exits in zip(final, early, strict=True)])
    expected = expected.double().log_softmax(dim=-1)[range(len(tokens)), tokens]
    torch.testing.assert_close(torch.tensor(found.log_probabilities).double(), expected, atol=5 * CLOSE, rtol=0)


def test_keys_that_pictures_have_no_part_in_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that knew rows by their ids alone would give one prompt the picture of another."""
    monkeypatch.setattr("counterpoint.decoders.amateurs.inputs.keyed", lambda ids, origins: ids)
    with pytest.raises(AssertionError):
        test_beams_and_samples_share_a_prompt("llava")


def test_worked_numbers() -> None:
    p, q = torch.tensor([0.60, 0.35, 0.05]).log(), torch.tensor([0.75, 0.20, 0.05]).log()
    expected = contrast_references.contrast(p, q, contrast_references.power(1.0), 0.1)
    torch.testing.assert_close(expected.float(), torch.tensor([-0.7340, -0.4902, -math.inf]), atol=1e-4, rtol=0)
    found = contrast(p, q, form=partial(extrapolation, beta=1.0), alpha=0.1)
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.softmax(-1), torch.tensor([0.4394, 0.5606, 0.0]), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("step", "signal", "noise"),
    [(0, 0.99999, 0.00473), (250, 0.98913, 0.14702), (500, 0.86302, 0.50517), (700, 0.59268, 0.80544), (999, 0.28504, 0.95851)],
)
def test_noise_is_that_of_the_process(step: int, signal: float, noise: float) -> None:
    ones, zeros = torch.ones(20000), torch.zeros(20000)
    drawn = torch.randn(20000, generator=torch.Generator().manual_seed(0))
    found = diffusion_noise(zeros, step=step, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, noise * drawn, atol=3e-5 * 5, rtol=1e-3)
    both = diffusion_noise(ones, step=step, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(both - found, signal * ones, atol=2e-5, rtol=0)
    assert torch.equal(ones, torch.ones(20000))


def test_what_cannot_be_said_is_refused() -> None:
    subject = pictures("qwen3_vl")
    other = subject.inputs(3)
    with pytest.raises(ValueError, match="step=1000: the process has steps 0 to 999"):
        diffusion_noise(other["pixel_values"], step=1000)
    ends = {**other, "mm_token_type_ids": torch.ones_like(other["mm_token_type_ids"])}
    with pytest.raises(ValueError, match="a prompt ends in a picture"):
        InputsAmateur(subject.model, ends)
    real = [subject.inputs(1), subject.inputs(2)]
    with pytest.raises(ValueError, match="scoring takes a list of them"):
        score(subject.model, None, real, [[text(3, 4)]] * 2, visual(subject.model, subject.inputs(3, 4)))
    with pytest.raises(ValueError, match="would read their places in the text without what stands there"):
        score(subject.model, None, real[:1], [[text(3, 4)]], ContrastiveDecodingLogitsProcessor(subject.plain))
    with pytest.raises(ValueError, match="a prompt has 2 rows"):
        score(subject.model, None, [subject.inputs(1, 2)], [[text(3, 4)]])
    with pytest.raises(ValueError, match="tokens, or texts with tokenizer="):
        score(subject.model, None, real[:1], [["a text"]])
    llava = pictures("llava")
    sizes = [llava.inputs(1), {**llava.inputs(2), "pixel_values": torch.zeros(1, 3, 8, 8)}]
    with pytest.raises(ValueError, match="pixel_values of the prompts differ in shape; give pictures of one size"):
        InputsAmateur(llava.model, sizes)
    unknown = llava.model.get_input_embeddings().weight.shape[0]
    with pytest.raises(ValueError, match=f"token {unknown} is none of the {unknown} that Llava"):
        InputsAmateur(llava.model, llava.inputs(3), prompt_length=4).logits(torch.tensor([[5, 6, 7, 8, unknown]]))
    model = tiny_model()
    alone = {"input_ids": torch.tensor([[7, 8, 9]])}
    assert score(model, None, [[5, 6]], [[[7, 8]]], visual(model, alone))[0][0].total < 0
    assert keyed(torch.tensor([[5, 6]]), torch.tensor([3])).tolist() == [[-4, 6]]
