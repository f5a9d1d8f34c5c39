"""Only the answer's tokens count."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from counterpoint.eval import AMATEUR
from counterpoint.eval.training import answers
from counterpoint.eval.training.answers import IGNORED, Row, answer_loss, collate, encode, mean_answer_loss
from counterpoint.eval.training.wrong_answers import Pair

TOKENIZER: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(AMATEUR)
PAIRS = [
    Pair("Who is Moby Dick?", "A cat."),
    Pair("Why?", "The old captain said so, and that is that."),
    Pair("A ship is what?", "Bread"),
]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<"), min_size=1, max_size=30)
CHAT = "{% for message in messages %}<{{ message.role }}>{{ message.content }}</>{% endfor %}<assistant>"


@given(TEXT, TEXT)
def test_question_then_answer(question: str, answer: str) -> None:
    row = encode(TOKENIZER, Pair(question, answer), chat_template=False)
    assert TOKENIZER.decode(row.ids) == f"Q: {question}\nA: {answer}"
    assert TOKENIZER.decode(row.ids[: row.start]) == f"Q: {question}\nA:"
    assert row.answer_tokens == len(row.ids) - row.start > 0


def test_chat_template() -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(AMATEUR)
    with pytest.raises(ValueError, match="the tokenizer has no chat template"):
        encode(tokenizer, PAIRS[0], chat_template=True)
    tokenizer.chat_template = CHAT
    row = encode(tokenizer, PAIRS[0], chat_template=True)
    assert tokenizer.decode(row.ids[: row.start]) == "<user>Who is Moby Dick?</><assistant>"
    assert tokenizer.decode(row.ids[row.start :]) == "A cat."


def test_a_token_across_the_border_is_the_answers() -> None:
    characters = {character: index for index, character in enumerate("Q: a\nAb")}
    merged = Tokenizer(BPE({**characters, ": ": 7}, [(":", " ")]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=merged)
    row = encode(tokenizer, Pair("a", "b"), chat_template=False)
    assert tokenizer.convert_ids_to_tokens(row.ids[row.start :]) == [": ", "b"]


def test_labels_are_the_answers_tokens() -> None:
    batch = collate([Row([5, 6, 7], 1), Row([8, 9], 1)], torch.device("cpu"))
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [[IGNORED, 6, 7], [IGNORED, 9, IGNORED]]


@torch.no_grad()
def by_hand(model: Any, row: Row) -> float:
    """The same loss one token after the other, each from a forward of what precedes it."""
    total = 0.0
    for position in range(row.start, len(row.ids)):
        logits = model(torch.tensor([row.ids[:position]])).logits[0, -1].double()
        total -= float(logits[row.ids[position]] - logits.logsumexp(dim=-1))
    return total


def check_loss(model: PreTrainedModel) -> None:
    """The batch's loss is the sum of the rows' by hand, and the mean that over all answers' tokens."""
    rows = [encode(TOKENIZER, pair, chat_template=False) for pair in PAIRS]
    expected = [by_hand(model, row) for row in rows]
    with torch.no_grad():
        assert float(answer_loss(model, rows)) == pytest.approx(sum(expected), rel=1e-5)
    tokens = sum(len(row.ids) - row.start for row in rows)
    for batch_size in (1, 2, 3):
        assert mean_answer_loss(model, rows, batch_size) == pytest.approx(sum(expected) / tokens, rel=1e-5)


def test_loss(amateur: PreTrainedModel) -> None:
    check_loss(amateur)


@pytest.mark.parametrize("defect", ["question counts", "padding counts", "no mask and padding on the left"])
def test_the_check_finds_defects(amateur: PreTrainedModel, monkeypatch: pytest.MonkeyPatch, defect: str) -> None:
    def broken(rows: list[Row], device: torch.device) -> dict[str, torch.Tensor]:
        batch = collate(rows, device)
        if defect == "question counts":
            batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)
        elif defect == "padding counts":
            batch["labels"] = batch["labels"].masked_fill(batch["attention_mask"] == 0, 0)
        else:
            shifts = [len(batch["input_ids"][0]) - len(row.ids) for row in rows]
            for name, values in batch.items():
                rolled = [value.roll(shift) for value, shift in zip(values, shifts, strict=True)]
                batch[name] = torch.ones_like(values) if name == "attention_mask" else torch.stack(rolled)
        return batch

    monkeypatch.setattr(answers, "collate", broken)
    with pytest.raises(AssertionError):
        check_loss(amateur)
