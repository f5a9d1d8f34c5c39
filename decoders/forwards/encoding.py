"""Text as tokens: a prompt as a model reads it, and what follows it.

A prompt is framed as its tokenizer frames a text, but for the end: what will be continued has not ended. A continuation is
tokenised together with its prompt, so that its tokens are those of the whole text; alone, some tokenizers put a space before it.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from transformers import PreTrainedTokenizerBase

Encoded = tuple[tuple[int, ...], tuple[int, ...]]
"""The tokens of a prompt and of a continuation."""


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, text: str, *, is_encoder_decoder: bool = False, from_template: bool = False
) -> list[int]:
    """The tokens of a text to be continued: the special ones that the tokenizer puts before a text, once, and the text's own.

    A begin-of-text token that is written in the text counts as the one that the tokenizer would put there. An end-of-text token
    that the tokenizer would append is left out, since the text goes on. An encoder reads a whole text, with both of its ends.

    Args:
        tokenizer: The model's tokenizer.
        text: The prompt; it may be empty.
        is_encoder_decoder: Whether an encoder reads it.
        from_template: Whether a chat template wrote it, which brings all its special tokens: none is added, and a text is tokenised
            as ``apply_chat_template`` does.

    Raises:
        ValueError: If it holds half of a character (a lone surrogate), which no tokenizer reads.

    Example:
        >>> from transformers import AutoTokenizer
        >>> from counterpoint.eval import EXPERT
        >>> tokenizer = AutoTokenizer.from_pretrained(EXPERT)
        >>> encode_prompt(tokenizer, "The whale") == tokenizer("The whale").input_ids
        True
    """
    check_unicode(text)
    if from_template:
        return tokens_of(tokenizer, text)
    before, after = frame(tokenizer, text)
    start, end = ("".join(tokenizer.convert_ids_to_tokens(special)) if special else "" for special in (before, after))
    if is_encoder_decoder:
        return [*before, *tokens_of(tokenizer, without(text, start).removesuffix(end)), *after]
    if not text.startswith(start) and text.lstrip().startswith(start):
        return tokens_of(tokenizer, text)
    return [*before, *tokens_of(tokenizer, without(text, start))]


def encode_pair(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    continuation: str,
    *,
    is_encoder_decoder: bool = False,
    from_template: bool = False,
) -> Encoded:
    """The tokens of a prompt and of the continuation that follows its text.

    Both are tokenised together and split where the prompt's own tokens (:func:`encode_prompt`) end, or earlier if a token spans
    both: that token counts to the continuation. If no token of the prompt is left, its own tokens are read and the continuation's
    follow them. An encoder-decoder model reads them apart.

    Example:
        >>> from transformers import AutoTokenizer
        >>> from counterpoint.eval import EXPERT
        >>> tokenizer = AutoTokenizer.from_pretrained(EXPERT)
        >>> [tokenizer.convert_ids_to_tokens(part) for part in encode_pair(tokenizer, "The ", "ship sank")]
        [['The'], ['Ġship', 'Ġsank']]
    """
    options = {"is_encoder_decoder": is_encoder_decoder, "from_template": from_template}
    before = encode_prompt(tokenizer, prompt, **options)
    check_unicode(continuation)
    if is_encoder_decoder:
        target: Any = tokenizer(text_target=continuation, add_special_tokens=False, verbose=False)
        return tuple(before), tuple(target["input_ids"])
    both = encode_prompt(tokenizer, prompt + continuation, **options)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, both, strict=False)))
    if before and not shared:
        return tuple(before), tuple(tokens_of(tokenizer, continuation))
    return tuple(both[:shared]), tuple(both[shared:])


def frame(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], list[int]]:
    """The special tokens that a tokenizer puts by itself before and after a text; found by a letter where it knows that."""
    bare, whole = tokens_of(tokenizer, "a"), tokens_of(tokenizer, "a", framed=True)
    if not bare:
        bare, whole = tokens_of(tokenizer, text), tokens_of(tokenizer, text, framed=True)
    start = next(index for index in range(len(whole) + 1) if whole[index : index + len(bare)] == bare)
    return whole[:start], whole[start + len(bare) :]


def tokens_of(tokenizer: PreTrainedTokenizerBase, text: str, framed: bool = False) -> list[int]:
    """The text's tokens, with those that the tokenizer puts around it or without."""
    ids: list[int] = tokenizer(text, add_special_tokens=framed, verbose=False)["input_ids"]
    return ids


def without(text: str, start: str) -> str:
    """The text after all repetitions of ``start`` at its beginning."""
    while start and text.startswith(start):
        text = text.removeprefix(start)
    return text


def check_unicode(text: str) -> None:
    """Refuse what cannot be encoded as UTF-8.

    Raises:
        ValueError: If it holds a lone surrogate.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{text!r} holds half of a character, {text[error.start]!r} at {error.start}: it was cut or read in a wrong encoding"
        ) from error
