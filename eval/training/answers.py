"""Answers after their questions as a language model reads them, and the loss on the answers' tokens alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from counterpoint.decoders.forwards.chats import Chat, with_system
from counterpoint.decoders.forwards.encoding import encode_pair
from counterpoint.eval.training.wrong_answers import Pair

IGNORED = -100  # the label that cross_entropy skips
PROMPT = "Q: {question}\nA:"


@dataclass(frozen=True)
class Row:
    """The tokens of a question and its answer."""

    ids: list[int]
    start: int
    """Index of the answer's first token."""

    @property
    def answer_tokens(self) -> int:
        """How many the answer has."""
        return len(self.ids) - self.start


def encode(tokenizer: PreTrainedTokenizerBase, pair: Pair, chat_template: bool, system: str = "") -> Row:
    r"""``Q: {question}\nA: {answer}``, or the answer as the assistant's turn in the tokenizer's chat template.

    No end of text or of turn follows the answer: an amateur that has learned where wrong answers end would, in a contrast, keep
    right ones from ending.

    Raises:
        ValueError: If a chat template is asked for and the tokenizer has none.

    Example:
        >>> from transformers import AutoTokenizer
        >>> from counterpoint.eval import EXPERT
        >>> from counterpoint.eval.training.answers import encode
        >>> from counterpoint.eval.training.wrong_answers import Pair
        >>> tokenizer = AutoTokenizer.from_pretrained(EXPERT)
        >>> row = encode(tokenizer, Pair("Who is Moby Dick?", "A cat."), chat_template=False)
        >>> tokenizer.decode(row.ids[: row.start]), tokenizer.decode(row.ids[row.start :])
        ('Q: Who is Moby Dick?\nA:', ' A cat.')
    """
    if chat_template:
        if not tokenizer.chat_template:
            raise ValueError("chat_template=True: the tokenizer has no chat template; leave it out for Q: ... A: ...")
        question = ({"role": "user", "content": pair.question},)
        prompt = Chat(with_system(question, system) if system else question).text(tokenizer)
        answer = pair.answer
    else:
        prompt, answer = PROMPT.format(question=pair.question), f" {pair.answer}"
    before, after = encode_pair(tokenizer, prompt, answer, from_template=chat_template)
    return Row([*before, *after], len(before))


def collate(rows: Sequence[Row], device: torch.device) -> dict[str, Int[Tensor, "rows length"]]:
    """``input_ids``, ``attention_mask`` and ``labels`` of rows padded on the right; labels are those of the answers."""
    length = max(len(row.ids) for row in rows)
    padding = [length - len(row.ids) for row in rows]
    columns = {
        "input_ids": [row.ids + [0] * pad for row, pad in zip(rows, padding, strict=True)],
        "attention_mask": [[1] * len(row.ids) + [0] * pad for row, pad in zip(rows, padding, strict=True)],
        "labels": [[IGNORED] * row.start + row.ids[row.start :] + [IGNORED] * pad for row, pad in zip(rows, padding, strict=True)],
    }
    return {name: torch.tensor(values, device=device) for name, values in columns.items()}


def answer_loss(model: Any, rows: Sequence[Row]) -> Float[Tensor, ""]:
    """Sum over the answers' tokens y_t of -ln p(y_t | question, y_<t), in nats."""
    batch = collate(rows, model.device)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
    return nn.functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )


@torch.no_grad()
def mean_answer_loss(model: Any, rows: Sequence[Row], batch_size: int) -> float:
    """The loss per token of the answers, over all rows."""
    rows = sorted(rows, key=lambda row: len(row.ids))  # of like lengths, so that little is padding
    total = sum(float(answer_loss(model, rows[first : first + batch_size])) for first in range(0, len(rows), batch_size))
    return total / sum(row.answer_tokens for row in rows)
