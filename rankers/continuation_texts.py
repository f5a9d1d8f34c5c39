"""Tokens as text: a prompt, and what was generated as it follows the prompt's text.

Neither is what decoding the tokens alone gives: some tokenizers drop a text's first space, and a prompt or a generated text may end
within a character, whose bytes are several tokens. Here a text goes up to its last whole character, so that the prompt's text and
what follows it make up the text of all tokens, wherever the prompt ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

CONTEXT = 16
"""Number of the prompt's tokens that are decoded with what follows them; a space or a character may need the one before."""
CUT_CHARACTER = "\N{REPLACEMENT CHARACTER}"
"""What a tokenizer decodes the first bytes of a character to."""


def prompt_text(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int]) -> str:
    """A prompt without special tokens, up to its last whole character."""
    return _decoded(tokenizer, prompt).rstrip(CUT_CHARACTER)


def prompt_texts(
    tokenizer: PreTrainedTokenizerBase, prompts: Int[Tensor, "prompts length"], mask: Int[Tensor, "prompts length"] | None = None
) -> list[str]:
    """The :func:`prompt_text` of each row, which the mask says to be no padding."""
    return [prompt_text(tokenizer, row) for row in unpadded(prompts, mask)]


def unpadded(prompts: Int[Tensor, "prompts length"], mask: Int[Tensor, "prompts length"] | None = None) -> list[list[int]]:
    """The tokens of each row that the mask says to be no padding."""
    seen = torch.ones_like(prompts) if mask is None else mask
    return [row[kept.bool()].tolist() for row, kept in zip(prompts, seen, strict=True)]


def continuation_text(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int], new: Sequence[int], *, all_of_it: bool = False
) -> str:
    """New tokens without special ones as they go on after :func:`prompt_text`, with the space that they may begin with.

    The text begins with a character that the prompt's tokens began, and ends with its last whole one: bytes that the next token
    would complete say nothing yet. ``all_of_it`` keeps them, as the sign that ``decode`` has for them.

    Example:
        >>> from transformers import AutoTokenizer
        >>> from counterpoint.rankers import SMALL
        >>> from counterpoint.rankers.continuation_texts import continuation_text
        >>> tokenizer = AutoTokenizer.from_pretrained(SMALL)
        >>> prompt, whole = (tokenizer(text, add_special_tokens=False).input_ids for text in ("The whale", "The whale rose slowly"))
        >>> continuation_text(tokenizer, prompt, whole[len(prompt) :])
        ' rose slowly'
    """
    context = list(prompt[-CONTEXT:])
    before, text = _decoded(tokenizer, context), _decoded(tokenizer, [*context, *new])
    end = text if all_of_it else text.rstrip(CUT_CHARACTER)
    return end[len(before.rstrip(CUT_CHARACTER)) :]


class GeneratedText(str):
    """The :func:`continuation_text` of new tokens, which keeps them: a ranker that has the same tokenizer reads the tokens."""

    tokenizer: PreTrainedTokenizerBase
    prompt: tuple[int, ...]
    """The prompt's tokens, without padding."""
    new: tuple[int, ...]
    """The tokens that follow it."""
    logits: Sequence[Float[Tensor, " vocabulary"]] | None
    """The model's, from which each new token was chosen; None if they were not kept."""

    def __new__(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        prompt: Sequence[int],
        new: Sequence[int],
        *,
        logits: Sequence[Float[Tensor, " vocabulary"]] | None = None,
        read: bool = True,
    ) -> GeneratedText:
        """The text of what follows a prompt; ``read=False`` forgets the prompt, since the prefix has other tokens."""
        text = super().__new__(cls, continuation_text(tokenizer, prompt, new))
        text.tokenizer, text.prompt, text.new, text.logits = tokenizer, tuple(prompt) if read else (), tuple(new), logits
        return text

    @property
    def prefix(self) -> str:
        """The prompt's text."""
        return prompt_text(self.tokenizer, self.prompt)

    @property
    def tokens(self) -> tuple[int, ...]:
        """The new tokens without those that end a text."""
        special, length = set(self.tokenizer.all_special_ids), len(self.new)
        while length and self.new[length - 1] in special:
            length -= 1
        return self.new[:length]

    def __reduce__(self) -> Any:
        """Elsewhere it is a text."""
        return str, (str(self),)


def end_of(tokens: Sequence[int], ends: int | Sequence[int] | None) -> int | None:
    """How many tokens a text has up to the first that ends it, that one included; None where none does.

    Example:
        >>> end_of([5, 2, 0, 0], ends=[2]), end_of([5, 6], ends=2)
        (2, None)
    """
    known = [] if ends is None else [ends] if isinstance(ends, int) else ends
    return next((place for place, token in enumerate(tokens, 1) if token in known), None)


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
