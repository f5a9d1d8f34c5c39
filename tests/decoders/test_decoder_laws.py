"""Every exported decoder keeps the laws that :mod:`counterpoint.decoders.testing` gives to third parties, and each law can fail."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel, UnbatchedClassifierFreeGuidanceLogitsProcessor

import counterpoint.decoders
from counterpoint.decoders import (
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    ContrastiveSearchLogitsProcessor,
    ContrastParts,
    ContrastProcessor,
    DistributionProcessor,
    DoLaLogitsProcessor,
    FrustratinglySimpleLogitsProcessor,
    LastTokenAmateur,
    LayerFusionLogitsProcessor,
    PromptAmateur,
    ReleasedContrastiveDecodingLogitsProcessor,
    SideOutputs,
    SLEDLogitsProcessor,
    adaptive_contrastive_search,
    contrastive_search,
    speculative_contrastive_decoding,
)
from counterpoint.decoders.base import NextTokenOutputs
from counterpoint.decoders.hf.generate_call import current_generate_call
from counterpoint.decoders.testing import DecoderLaws, tiny_model

OTHER = {"input_ids": torch.tensor([[7, 8, 9]])}


class TestContrastiveDecoding(DecoderLaws):
    """Li et al."""

    decoder = ContrastiveDecodingLogitsProcessor

    def make_processor(self, model: PreTrainedModel) -> LogitsProcessor:
        return ContrastiveDecodingLogitsProcessor(tiny_model(seed=1))


class TestContextAware(DecoderLaws):
    """Shi et al."""

    decoder = ContextAwareLogitsProcessor

    def make_processor(self, model: PreTrainedModel) -> LogitsProcessor:
        return ContextAwareLogitsProcessor(model, OTHER)


class TestReleasedContrastiveDecoding(DecoderLaws):
    """Li et al. as released, under beams alone."""

    decoder = ReleasedContrastiveDecodingLogitsProcessor
    mode = MappingProxyType({"num_beams": 3})

    def make_processor(self, model: PreTrainedModel) -> LogitsProcessor:
        return ReleasedContrastiveDecodingLogitsProcessor(LastTokenAmateur(tiny_model(seed=1)))


class TestFrustratinglySimple(DecoderLaws):
    """Yang et al."""

    decoder = FrustratinglySimpleLogitsProcessor

    def make_processor(self, model: PreTrainedModel) -> LogitsProcessor:
        return FrustratinglySimpleLogitsProcessor(top_k=6)


class TestDoLa(DecoderLaws):
    """Chuang et al."""

    decoder = DoLaLogitsProcessor

    def make_processor(self, model: PreTrainedModel) -> LogitsProcessor:
        return DoLaLogitsProcessor(model, layers=[0, 1, 2])


class TestSLED(DecoderLaws):
    """Zhang et al."""

    decoder = SLEDLogitsProcessor

    def make_processor(self, model: PreTrainedModel) -> LogitsProcessor:
        return SLEDLogitsProcessor(model)


class TestLayerFusion(DecoderLaws):
    """Multi-layer fusion with a guide."""

    decoder = LayerFusionLogitsProcessor

    def make_processor(self, model: PreTrainedModel) -> LogitsProcessor:
        guide = PromptAmateur(model, OTHER)
        return LayerFusionLogitsProcessor(model, tiny_model(seed=1), layers=[1, 2], guide=guide, refocus_weight=0.5)


class TestContrastiveSearchProcessor(DecoderLaws):
    """Su et al., in loops that cannot be replaced."""

    decoder = ContrastiveSearchLogitsProcessor

    def make_processor(self, model: PreTrainedModel) -> LogitsProcessor:
        return ContrastiveSearchLogitsProcessor(model)


class TestContrastiveSearch(DecoderLaws):
    """Su et al."""

    decoder = contrastive_search
    refuses = frozenset(["beams", "drafts"])

    def make_arguments(self, model: PreTrainedModel) -> dict[str, Any]:
        return {"custom_generate": contrastive_search, "penalty_alpha": 0.6, "top_k": 5}


class TestAdaptiveContrastiveSearch(DecoderLaws):
    """Garces Arias et al."""

    decoder = adaptive_contrastive_search
    refuses = frozenset(["beams", "drafts"])

    def make_arguments(self, model: PreTrainedModel) -> dict[str, Any]:
        return {"custom_generate": adaptive_contrastive_search}


class TestSpeculativeContrastiveDecoding(DecoderLaws):
    """Yuan et al."""

    decoder = speculative_contrastive_decoding
    refuses = frozenset(["batch", "beams", "drafts"])

    def make_arguments(self, model: PreTrainedModel) -> dict[str, Any]:
        return {"custom_generate": speculative_contrastive_decoding, "amateur": tiny_model(seed=1)}


def is_decoder(value: Any) -> bool:
    """Whether ``generate`` takes it: a logits processor that can be made, or a loop of its own."""
    if inspect.isclass(value):
        return issubclass(value, LogitsProcessor) and not inspect.isabstract(value)
    return inspect.isfunction(value) and "generation_config" in inspect.signature(value).parameters


def test_every_exported_decoder_has_its_laws() -> None:
    exported = {name for name in counterpoint.decoders.__all__ if is_decoder(getattr(counterpoint.decoders, name))}
    files = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py")]
    held = {name for text in files for name in re.findall(r"^class \w+\(DecoderLaws\):.*?^    decoder = (\w+)$", text, re.M | re.S)}
    assert exported == held
    assert {"DoLaLogitsProcessor", "contrastive_search"} <= exported


def laws_of(make: Callable[[PreTrainedModel], Any], **declared: Any) -> DecoderLaws:
    """The laws of a processor."""
    return type("Laws", (DecoderLaws,), {"make_processor": lambda self, model: make(model), **declared})()


def caught(make: Callable[[PreTrainedModel], Any], law: str, message: str, **declared: Any) -> None:
    with pytest.raises(AssertionError, match=message):
        getattr(laws_of(make, **declared), law)()


class MeanOfTheBatch(DistributionProcessor):
    """Rows, or positions, that have a say in each other's scores."""

    def process(self, outputs: SideOutputs, scores: Tensor) -> Tensor:
        return scores - 2 * scores.mean(dim=0, keepdim=True)


class PaddingIsText(DistributionProcessor):
    """The longer the text the larger the scores of some tokens, padding included."""

    def process(self, outputs: SideOutputs, scores: Tensor) -> Tensor:
        ids, _ = outputs.text()
        return scores + 0.1 * ids.shape[1] * (torch.arange(scores.shape[-1]) % 3)


class OwnNotes(LogitsProcessor):
    """Remembers the last token of each row at each call and wants no row to repeat it, until a text begins anew."""

    def __init__(self, forgets: bool) -> None:
        self.forgets, self.width, self.notes = forgets, 0, torch.empty(0, 0, dtype=torch.long)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if len(self.notes) != len(input_ids) or (self.forgets and input_ids.shape[1] <= self.width):
            self.notes = input_ids[:, :0]
        self.width = input_ids.shape[1]
        self.notes = torch.cat([self.notes, input_ids[:, -1:]], dim=1)
        return scores.scatter_add(1, self.notes, torch.full(self.notes.shape, -4.0))


class InPlace(LogitsProcessor):
    """Writes into what it is given."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores.mul_(0.5)


def test_rows_that_meet_are_caught() -> None:
    caught(lambda _: MeanOfTheBatch(), "test_a_row_gets_what_it_gets_alone", "row 0 of a batch")
    caught(lambda _: MeanOfTheBatch(), "test_scoring_agrees_with_generation", "text 0: score")


def test_padding_that_counts_is_caught() -> None:
    caught(lambda _: PaddingIsText(), "test_a_row_gets_what_it_gets_alone", "prompt 0 with padding")


def test_notes_that_outlive_their_text_are_caught() -> None:
    caught(lambda _: OwnNotes(forgets=False), "test_calls_do_not_meet", "used before")


class Remembering(ContrastiveDecodingLogitsProcessor):
    """What the amateur said to a text once, for ever."""

    def __init__(self, amateur: PreTrainedModel) -> None:
        super().__init__(amateur)
        self.said: dict[str, ContrastParts] = {}

    def parts(self, outputs: SideOutputs, scores: Tensor) -> ContrastParts:
        return self.said.setdefault(str(outputs.text()[0].tolist()), super().parts(outputs, scores))


def test_notes_that_outlive_weights_are_caught() -> None:
    caught(lambda _: Remembering(tiny_model(seed=1)), "test_nothing_outlives_its_weights", "used before the weights changed")


def test_notes_of_another_call_are_caught() -> None:
    caught(lambda _: OwnNotes(forgets=True), "test_calls_do_not_meet", "two calls at a time")


def test_notes_that_do_not_follow_their_rows_are_caught() -> None:
    caught(lambda _: OwnNotes(forgets=True), "test_beams_follow_their_texts", "rows are not followed")


def test_notes_of_rejected_drafts_are_caught() -> None:
    caught(lambda _: OwnNotes(forgets=False), "test_drafts_change_nothing", "changes the text")


@pytest.mark.parametrize(
    ("law", "message"),
    [("test_calls_do_not_meet", "used before"), ("test_beams_follow_their_texts", "rows are not followed|second")],
)
def test_a_live_mock(law: str, message: str) -> None:
    """Guidance as transformers has it: its cache is neither reordered nor dropped."""
    caught(lambda model: UnbatchedClassifierFreeGuidanceLogitsProcessor(1.5, model), law, message)


def test_scores_of_another_distribution_are_caught() -> None:
    class Otherwise(ContrastiveDecodingLogitsProcessor):
        def next_scores(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            return 0.5 * super().next_scores(input_ids, scores)

    caught(lambda _: Otherwise(tiny_model(seed=1)), "test_scoring_agrees_with_generation", "text 0: score")


def test_a_distribution_that_is_not_scored_is_caught() -> None:
    class GenerationOnly(ContrastiveDecodingLogitsProcessor):
        def process(self, outputs: SideOutputs, scores: Tensor) -> Tensor:
            if not isinstance(outputs, NextTokenOutputs):
                raise ValueError("there are no texts but those being generated")
            return super().process(outputs, scores)

    caught(
        lambda _: GenerationOnly(tiny_model(seed=1)),
        "test_scoring_agrees_with_generation",
        "score.. refuses a DistributionProcessor",
    )


def test_changes_in_place_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    caught(lambda _: InPlace(), "test_no_input_is_changed", "InPlace changes input_ids or scores in place")

    def spoilt(model: Any, input_ids: Tensor, **arguments: Any) -> Any:
        found = contrastive_search(model, input_ids, **arguments)
        found.logits[0].mul_(2)
        return found

    arguments = {"custom_generate": spoilt, "penalty_alpha": 0.6, "top_k": 5}
    caught(lambda _: None, "test_no_input_is_changed", "output_logits", make_arguments=lambda self, model: arguments)


def test_changed_weights_and_ids_are_caught() -> None:
    class Spoiling(LogitsProcessor):
        def __init__(self, model: PreTrainedModel) -> None:
            self.model = model

        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            self.model.lm_head.weight[0] += 1
            return scores

    caught(Spoiling, "test_no_input_is_changed", "the weight lm_head.weight was changed")


@pytest.mark.parametrize(
    ("refused", "law"),
    [
        ("batch", "test_a_row_gets_what_it_gets_alone"),
        ("beams", "test_beams_follow_their_texts"),
        ("drafts", "test_drafts_change_nothing"),
    ],
)
def test_refusals_that_are_none_are_caught(refused: str, law: str) -> None:
    caught(lambda _: FrustratinglySimpleLogitsProcessor(), law, "said to be refused", refuses=frozenset([refused]))


def test_nothing_to_test_is_said() -> None:
    with pytest.raises(NotImplementedError, match="make_processor"):
        DecoderLaws().test_no_input_is_changed()


PROCESSORS = [case for case in DecoderLaws.__subclasses__() if inspect.isclass(vars(case).get("decoder"))]


@pytest.mark.parametrize("case", [case for case in PROCESSORS if not case.mode], ids=lambda case: case.decoder.__name__)
def test_no_decoder_has_a_say_in_drafts(case: type[DecoderLaws], monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard of the base: an assistant's logits are not contrasted, and the expert's are."""
    model = tiny_model()
    processor: Any = case().make_processor(model)
    called, right = [], type(processor).next_scores

    def noted(self: Any, input_ids: Tensor, scores: Tensor) -> Tensor:
        called.append(current_generate_call().drafting)  # type: ignore[union-attr]
        return right(self, input_ids, scores)

    calls: list[bool] = []

    def counted(input_ids: Tensor, scores: Tensor) -> Tensor:
        calls.append(current_generate_call().drafting)  # type: ignore[union-attr]
        return scores

    monkeypatch.setattr(type(processor), "next_scores", noted)
    arguments = {"assistant_model": tiny_model(seed=7), "max_new_tokens": 5, "do_sample": False, "eos_token_id": None}
    model.generate(torch.tensor([[7, 8, 9]]), logits_processor=[counted, processor], **arguments)
    assert called == [False] * calls.count(False)
    assert any(calls), "nothing was drafted, so this tests nothing"


@pytest.mark.parametrize("case", [case for case in PROCESSORS if issubclass(case.decoder, ContrastProcessor)])
def test_parts_are_what_the_scores_are_made_of(case: type[DecoderLaws]) -> None:
    model, ids = tiny_model(), torch.tensor([[7, 8, 9], [5, 6, 4]])
    processor, other = (without_generate(case().make_processor(model)) for _ in range(2))
    logits = model(ids).logits[:, -1]
    parts = processor.parts(NextTokenOutputs(ids), logits)
    torch.testing.assert_close(parts.scores, other.process(NextTokenOutputs(ids), logits))
    assert torch.equal(parts.positive, logits)
    assert torch.equal(parts.plausible, parts.scores > -torch.inf)
    assert all(len(value) == len(ids) for value in parts.choice.values())
    if "layer" in parts.choice:
        chosen = parts.choice["divergence"].argmax(dim=1)
        assert parts.choice["layer"].tolist() == [processor.layers[index] for index in chosen]


def without_generate(processor: Any) -> Any:
    """The processor for a call by hand: another prompt's length is known from ``generate`` alone."""
    for name in ("amateur", "guide"):
        if isinstance(getattr(processor, name, None), PromptAmateur):
            setattr(processor, name, Unigram())
    if hasattr(processor, "prompt_length"):
        processor.prompt_length = 1
    return processor


class Unigram:
    """An amateur that needs no ``generate``."""

    def logits(self, input_ids: Tensor) -> Tensor:
        return torch.arange(96.0).expand(len(input_ids), -1) / 50
