"""Contrastive decoding of the embedded pair of models keeps the laws on real text."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase, pipeline

import processor_laws as laws
from contrast_cases import last_token_case, model_case, reasoning_case
from counterpoint.decoders import ContrastiveDecodingLogitsProcessor
from counterpoint.eval import rep_n
from processor_laws import ROWS, Batch

TEXTS = ["It was the best of times, it was", "The whale", "My fellow citizens, the captain of the ship had"]
LONGER = {"max_new_tokens": 16}


@pytest.fixture
def batch(tokenizer: PreTrainedTokenizerBase) -> Batch:
    inputs = tokenizer(TEXTS, return_tensors="pt", padding=True, padding_side="left")
    return Batch(inputs.input_ids, inputs.attention_mask, (0, 1, 2))


@pytest.mark.parametrize("make", [model_case, reasoning_case, last_token_case])
@pytest.mark.parametrize("mode", ["greedy", "sample", "beams", "beam sample"])
def test_every_mode_is_the_reference(expert: PreTrainedModel, amateur: PreTrainedModel, batch: Batch, make: Any, mode: str) -> None:
    laws.equals_the_reference(make(amateur), expert, batch, **(ROWS[mode] | LONGER))


def test_rows_drafts_and_calls(expert: PreTrainedModel, amateur: PreTrainedModel, batch: Batch) -> None:
    case = model_case(amateur)
    laws.rows_are_independent(case, expert, batch)
    laws.drafts_change_nothing(case, expert, batch, assistant_model=amateur)
    laws.drafts_change_nothing(case, expert, batch, prompt_lookup_num_tokens=4)
    laws.bans_hold(case, expert, batch, num_beams=2)


@pytest.mark.parametrize("beams", [1, 4])
def test_it_repeats_itself_less(
    expert: PreTrainedModel, amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch: Batch, beams: int
) -> None:
    """What the method is for: the amateur repeats itself even more."""

    def repeated(processors: list[Any]) -> float:
        new = laws.tokens(expert, batch, processors, max_new_tokens=48, num_beams=beams)
        return rep_n(tokenizer.batch_decode(new), 2)

    assert repeated([ContrastiveDecodingLogitsProcessor(amateur)]) < repeated([]) / 2


def test_in_a_pipeline(expert: PreTrainedModel, amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    generator = pipeline("text-generation", model=expert, tokenizer=tokenizer)
    arguments: dict[str, Any] = {"do_sample": False, "max_new_tokens": 12}
    processor = ContrastiveDecodingLogitsProcessor(amateur)
    together = generator(TEXTS, batch_size=3, logits_processor=[processor], **arguments)
    for text, found in zip(TEXTS, together, strict=True):
        inputs = tokenizer(text, return_tensors="pt")
        ids = expert.generate(**inputs, logits_processor=[ContrastiveDecodingLogitsProcessor(amateur)], **arguments)
        assert found[0]["generated_text"] == tokenizer.decode(ids[0], skip_special_tokens=True)
