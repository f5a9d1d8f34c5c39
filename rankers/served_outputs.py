"""What an engine returns, as prefixes and candidates: vLLM's ``RequestOutput``, and whatever has its fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from transformers import PreTrainedTokenizerBase

from counterpoint.decoders.forwards.encoding import encode_prompt
from counterpoint.rankers.continuation_texts import GeneratedText, end_of, prompt_text


@runtime_checkable
class ServedText(Protocol):
    """A continuation.

    Example:
        >>> from types import SimpleNamespace
        >>> isinstance(SimpleNamespace(text=" rose", token_ids=[9]), ServedText)
        True
    """

    text: str
    token_ids: Sequence[int]


@runtime_checkable
class ServedOutput(Protocol):
    """A prompt and its continuations.

    Example:
        >>> from types import SimpleNamespace
        >>> isinstance(SimpleNamespace(prompt="The whale", prompt_token_ids=[5, 6], outputs=[]), ServedOutput)
        True
    """

    prompt: str | None
    prompt_token_ids: Sequence[int] | None
    outputs: Sequence[ServedText]


def served_prefix(output: ServedOutput, tokenizer: PreTrainedTokenizerBase | None) -> str:
    """The text of the prompt: as it was given or, where tokens were given, read by the tokenizer.

    Raises:
        ValueError: If neither is there.
    """
    if output.prompt is not None:
        return output.prompt
    if tokenizer is None or output.prompt_token_ids is None:
        raise ValueError("an output has no prompt's text, only tokens; pass the language model's tokenizer")
    return prompt_text(tokenizer, output.prompt_token_ids)


def served_texts(
    output: ServedOutput, tokenizer: PreTrainedTokenizerBase | None, eos_token_id: int | Sequence[int] | None
) -> list[str]:
    """The continuations: their texts or, with a tokenizer, their tokens, which a ranker with the same one reads as they are."""
    prompt = output.prompt_token_ids
    if tokenizer is None or prompt is None:
        return [each.text for each in output.outputs]
    ends = tokenizer.eos_token_id if eos_token_id is None else eos_token_id
    own, texts = encode_prompt(tokenizer, served_prefix(output, tokenizer)), list[str]()
    for each in output.outputs:
        new = list(each.token_ids)
        end = end_of(new, ends)
        read = bool(own) and list(prompt[-len(own) :]) == own
        texts.append(GeneratedText(tokenizer, prompt, new if end is None else new[: end - 1], read=read))
    return texts


def as_served(outputs: object) -> list[ServedOutput]:
    """The outputs, of one request or of several.

    Raises:
        TypeError: If they are anything else.
    """
    several = outputs if isinstance(outputs, Sequence) and not isinstance(outputs, str) else [outputs]
    wrong = [type(each).__name__ for each in several if not isinstance(each, ServedOutput)]
    if wrong:
        raise TypeError(
            f"rerank(ranker, outputs) takes what an engine returned, with prompt, prompt_token_ids and outputs, not {wrong[0]}; "
            "texts are rerank(ranker, prefixes, candidates)"
        )
    return list(several)
