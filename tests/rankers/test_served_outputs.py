"""What an engine returned, put in order as it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.rankers import LikelihoodRanker, OverlapRanker, rerank

PREFIX = "The captain of the ship looked at the"
TEXTS = (" sea.", " captain of the ship.", "", " whale.")


@dataclass
class CompletionOutput:
    """The fields of vLLM's class of that name which are read, and one that is not."""

    index: int
    text: str
    token_ids: tuple[int, ...]
    cumulative_logprob: float | None = None


@dataclass
class RequestOutput:
    """The fields of vLLM's class of that name which are read, and one that is not."""

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int] | None
    outputs: list[CompletionOutput] = field(default_factory=list)


def served(tokenizer: PreTrainedTokenizerBase, prefix: str = PREFIX, *, ended: bool = False) -> RequestOutput:
    prompt = tokenizer(prefix).input_ids
    outputs = []
    for index, text in enumerate(TEXTS):
        new = tokenizer(prefix + text).input_ids[len(prompt) :]
        outputs.append(CompletionOutput(index, text, (*new, *[tokenizer.eos_token_id] * ended)))
    return RequestOutput("0", prefix, prompt, outputs)


def test_prefixes_are_taken_from_the_outputs(tokenizer: PreTrainedTokenizerBase) -> None:
    other = served(tokenizer, "My dear whale, said the")
    found = rerank(OverlapRanker(), [served(tokenizer), other])
    for output, ranked in zip([served(tokenizer), other], found, strict=True):
        texts = [each.text for each in output.outputs]
        kept = [text for text in texts if text]
        assert ranked.prefix == output.prompt
        assert ranked.texts == (*rerank(OverlapRanker(), str(output.prompt), kept).texts, "")
        assert [texts[index] for index in ranked.order] == list(ranked.texts)
        assert ranked.scores[-1] == -math.inf


def test_one_output_gives_one_order(tokenizer: PreTrainedTokenizerBase) -> None:
    assert rerank(OverlapRanker(), served(tokenizer)) == rerank(OverlapRanker(), [served(tokenizer)])[0]


@pytest.mark.parametrize("ended", [False, True])
def test_with_the_tokenizer_the_tokens_are_read_and_their_end_left_out(
    ended: bool, expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    output = served(tokenizer, ended=ended)
    for each in output.outputs:
        each.text = " something else"  # which is not looked at
    ranker = LikelihoodRanker(expert, tokenizer)
    kept = [text for text in TEXTS if text]
    expected = rerank(ranker, PREFIX, kept)
    found = rerank(ranker, output, tokenizer=tokenizer)
    assert found.texts == (*expected.texts, "")
    assert found.scores[:-1] == pytest.approx(expected.scores, rel=1e-4)


def test_tokens_alone_are_read_by_the_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    output = served(tokenizer)
    output.prompt = None
    assert rerank(OverlapRanker(), output, tokenizer=tokenizer).prefix == PREFIX
    with pytest.raises(ValueError, match="pass the language model's tokenizer"):
        rerank(OverlapRanker(), output)


@pytest.mark.parametrize("given", ["a text", ["texts"]])
def test_anything_else_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="takes what an engine returned"):
        rerank(OverlapRanker(), given)


def test_no_outputs_give_no_orders() -> None:
    assert rerank(OverlapRanker(), []) == []
