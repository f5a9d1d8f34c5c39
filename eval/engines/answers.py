"""A server's answers, held against what was asked: what did not come is named, and never made up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from counterpoint.rankers.engines import Written

FINISHED = ("stop", "eos", "stop_sequence")
REASONS = (*FINISHED, "length")
"""Why a text ended; anything else is no text that can be measured."""


class AnswerError(ValueError):
    """The server did not answer what it was asked."""


def choices_of(answer: Any, n: int) -> list[Mapping[str, Any]]:
    """The choices of an answer in their order.

    Raises:
        AnswerError: If there are others than ``n``.
    """
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    if not isinstance(choices, list) or not all(isinstance(each, Mapping) for each in choices):
        raise AnswerError(f"the server's answer has no list of choices: {str(answer)[:200]}")
    if len(choices) != n:
        raise AnswerError(f"n={n} texts were asked for, and the server gave {len(choices)}: it ignores n; take another server")
    found = {each.get("index", 0): each for each in choices}
    if sorted(map(str, found)) != sorted(map(str, range(n))):
        raise AnswerError(f"the server's choices have the places {sorted(map(str, found))}, not 0 to {n - 1}")
    return [found[place] for place in range(n)]


def text_of(choice: Mapping[str, Any]) -> str:
    """The text of a choice, of a completion or of a chat; the thinking that some servers set apart stands before it again.

    Raises:
        AnswerError: If there is none.
    """
    message = choice.get("message")
    text = message.get("content") if isinstance(message, Mapping) else choice.get("text")
    thinking = message.get("reasoning_content", message.get("reasoning")) if isinstance(message, Mapping) else None
    if isinstance(thinking, str) and thinking:
        return f"<think>{thinking}</think>{text or ''}"
    if not isinstance(text, str):
        raise AnswerError(f"a choice of the server has no text: {str(choice)[:200]}")
    return text


def written(choice: Mapping[str, Any], *, tokens: int | None, ids: bool, log_probabilities: bool, most: int) -> Written:
    """A choice as what was asked for.

    Args:
        choice: One choice.
        tokens: How many tokens it has, where the server tells that of the whole answer alone.
        ids: Whether its tokens were asked for.
        log_probabilities: Whether their log-probabilities were.
        most: The most tokens it may have.

    Raises:
        AnswerError: If something of it did not come, or counts do not agree.
    """
    reason = choice.get("finish_reason")
    if reason not in REASONS:
        raise AnswerError(f"the server ended a text with finish_reason={reason!r}, neither its end nor its length")
    found: tuple[int, ...] | None = None
    if ids:
        given = choice.get("token_ids")
        if not isinstance(given, list) or not all(type(each) is int for each in given):
            raise AnswerError("tokens were asked for (return_token_ids), and the server gave none; is it older than vLLM 0.10.2?")
        found, tokens = tuple(given), len(given)
    if tokens is not None and not 0 <= tokens <= most:
        raise AnswerError(f"the server says that a text has {tokens} tokens, where 0 to {most} were asked for")
    scores = scores_of(choice) if log_probabilities else None
    if scores is not None:
        tokens = len(scores) if tokens is None else tokens
        if len(scores) != tokens:
            raise AnswerError(f"the server gave {len(scores)} log-probabilities for {tokens} tokens")
    if tokens is None:
        raise AnswerError("the server does not say how many tokens a text has: give --tokenizer PATH, which counts them")
    return Written(text_of(choice), tokens, reason in FINISHED, found, None if scores is None else tuple(scores))


def scores_of(choice: Mapping[str, Any]) -> list[float]:
    """The log-probabilities of a generated choice's tokens.

    Raises:
        AnswerError: If they did not come.
    """
    given = choice.get("logprobs")
    if isinstance(given, Mapping) and isinstance(given.get("content"), list):  # of a chat
        return checked([each.get("logprob") for each in given["content"]])
    if not isinstance(given, Mapping) or not isinstance(given.get("token_logprobs"), list):
        raise AnswerError("log-probabilities were asked for (logprobs), and the server gave none: it ignores the field")
    return checked(given["token_logprobs"])


def checked(scores: Sequence[Any]) -> list[float]:
    """Log-probabilities, if that is what they are: -inf among them, NaN and what is above 0 not."""
    for each in scores:
        if not isinstance(each, int | float) or isinstance(each, bool) or math.isnan(each) or each > 1e-3:
            raise AnswerError(f"the server gave {each!r} for a log-probability")
    return [min(float(each), 0.0) for each in scores]


def read_scores(answer: Any, prompt_tokens: int | None) -> list[float]:
    """The log-probabilities of all but the first token of a prompt that was echoed.

    Args:
        answer: The server's answer to ``echo`` with ``logprobs``.
        prompt_tokens: How many tokens were sent; None for a text, of which it is not known.
    """
    (choice,) = choices_of(answer, 1)
    given = choice.get("logprobs")
    scores = given.get("token_logprobs") if isinstance(given, Mapping) else None
    if not isinstance(scores, list):
        raise AnswerError(
            "log-probabilities of a given text were asked for (echo with logprobs), and the server gave none; take vLLM, or leave "
            "out --engine"
        )
    if prompt_tokens is not None and len(scores) < prompt_tokens:
        raise AnswerError(f"the server gave {len(scores)} log-probabilities for the {prompt_tokens} tokens of a given text")
    return checked(scores[1:prompt_tokens])
