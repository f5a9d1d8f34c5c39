"""Tokens as the texts that rankers read: a prompt, and what was generated as it follows the prompt's text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

CONTEXT = 16
"""Tokens of the prompt that are decoded together with what follows them; a space or a character may need the one before."""
CUT_CHARACTER = "\N{REPLACEMENT CHARACTER}"
"""How a tokenizer decodes the first bytes of a character alone."""


def prompt_texts(
    tokenizer: PreTrainedTokenizerBase, prompts: Int[Tensor, "prompts length"], mask: Int[Tensor, "prompts length"] | None = None
) -> list[str]:
    """Each prompt without padding and special tokens, up to its last whole character."""
    seen = torch.ones_like(prompts) if mask is None else mask
    rows = [row[kept.bool()].tolist() for row, kept in zip(prompts, seen, strict=True)]
    return [text.rstrip(CUT_CHARACTER) for text in _decoded(tokenizer, rows)]


def continuation_text(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int], new: Sequence[int]) -> str:
    """New tokens without special ones, as they go on after :func:`prompt_texts`, with the space they begin with if they do.

    Up to the last whole character: the bytes of one that the next token would complete say nothing yet.

    Example:
        >>> from transformers import AutoTokenizer
        >>> from counterpoint.eval import EXPERT
        >>> tokenizer = AutoTokenizer.from_pretrained(EXPERT)
        >>> continuation_text(tokenizer, tokenizer("The whale").input_ids, tokenizer(" rose slowly").input_ids)
        ' rose slowly'
    """
    context = list(prompt[-CONTEXT:])
    before, text = _decoded(tokenizer, [context, [*context, *new]])
    return text.rstrip(CUT_CHARACTER)[len(before.rstrip(CUT_CHARACTER)) :]


def _decoded(tokenizer: PreTrainedTokenizerBase, rows: list[list[int]]) -> list[str]:
    return tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
