"""Perplexity and likelihood coherence against one plain forward a text; embedding coherence by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.eval import (
    EXPERT,
    embedding_coherence_of_each,
    likelihood_coherence_of_each,
    log_probabilities,
    mean_over_texts,
    perplexity,
)

PROMPTS = ["The captain of the", "The captain of the", "My fellow citizens,", "The whale"]
TEXTS = [" ship was on the deck, and the ship", " whale", " we are met on this day", " rose and rose and rose and rose."]
Coherence = Callable[..., list[float]]


def plain(model: Any, prompt: Sequence[int], text: Sequence[int]) -> list[float]:
    """Log-probabilities of a text's tokens, from one forward without cache, in float64."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *text]]), use_cache=False).logits[0].double()
    return [float(logits[len(prompt) - 1 + t].log_softmax(-1)[token]) for t, token in enumerate(text)]


def one_by_one(model: Any, tokenizer: Any, prompts: Sequence[str], texts: Sequence[str]) -> list[list[float]]:
    """The same of texts that are tokenised apart from their prompts."""
    return [
        plain(model, tokenizer(prompt)["input_ids"], tokenizer(text, add_special_tokens=False)["input_ids"])
        for prompt, text in zip(prompts, texts, strict=True)
    ]


@pytest.fixture(scope="module")
def expected(expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[list[float]]:
    """Of each of TEXTS."""
    return one_by_one(expert, tokenizer, PROMPTS, TEXTS)


@pytest.fixture(scope="module")
def bos_tokenizer() -> PreTrainedTokenizerBase:
    """One that puts a special token before a text, as OPT's and Llama's do."""
    from tokenizers.processors import TemplateProcessing

    found: Any = AutoTokenizer.from_pretrained(EXPERT)
    found.backend_tokenizer.post_processor = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    return found


@pytest.mark.parametrize("batch_tokens", [1, 256])
def test_log_probabilities(
    expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, expected: list[list[float]], batch_tokens: int
) -> None:
    found = log_probabilities(expert, tokenizer, PROMPTS, TEXTS, batch_tokens=batch_tokens)
    assert [len(text) for text in found] == [len(text) for text in expected]
    assert [*chain(*found)] == pytest.approx([*chain(*expected)], abs=1e-4)


def check_coherence(coherence: Coherence, model: Any, tokenizer: Any, expected: list[list[float]]) -> None:
    """The mean of each text's tokens."""
    assert coherence(model, tokenizer, PROMPTS, TEXTS) == pytest.approx([sum(text) / len(text) for text in expected], abs=1e-4)


def without_prompt(model: Any, tokenizer: Any, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
    """Broken: the prompt is not read."""
    return likelihood_coherence_of_each(model, tokenizer, ["The"] * len(texts), texts)


def with_prompt(model: Any, tokenizer: Any, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
    """Broken: the prompt's tokens count as well."""
    both = [tokenizer(prompt + text)["input_ids"] for prompt, text in zip(prompts, texts, strict=True)]
    return [sum(plain(model, ids[:1], ids[1:])) / len(ids[1:]) for ids in both]


def summed(model: Any, tokenizer: Any, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
    """Broken: a sum instead of a mean."""
    return [sum(text) for text in log_probabilities(model, tokenizer, prompts, texts)]


def test_coherence(expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, expected: list[list[float]]) -> None:
    check_coherence(likelihood_coherence_of_each, expert, tokenizer, expected)


@pytest.mark.parametrize("broken", [without_prompt, with_prompt, summed])
def test_the_check_catches_a_wrong_coherence(
    expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, expected: list[list[float]], broken: Coherence
) -> None:
    with pytest.raises(AssertionError):
        check_coherence(broken, expert, tokenizer, expected)


def test_perplexity_is_of_all_tokens_together(
    expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, expected: list[list[float]]
) -> None:
    tokens = [*chain(*expected)]
    assert perplexity(expert, tokenizer, PROMPTS, TEXTS) == pytest.approx(math.exp(-sum(tokens) / len(tokens)), rel=1e-4)
    means = [sum(text) / len(text) for text in expected]
    assert perplexity(expert, tokenizer, PROMPTS, TEXTS) != pytest.approx(math.exp(-sum(means) / len(means)), rel=1e-3)


def test_order_does_not_matter(expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    found = likelihood_coherence_of_each(expert, tokenizer, PROMPTS, TEXTS)
    assert likelihood_coherence_of_each(expert, tokenizer, PROMPTS[::-1], TEXTS[::-1]) == pytest.approx(found[::-1], abs=1e-4)
    assert perplexity(expert, tokenizer, PROMPTS * 2, TEXTS * 2) == pytest.approx(perplexity(expert, tokenizer, PROMPTS, TEXTS))


def test_a_special_token_is_read_first_and_once(expert: PreTrainedModel, bos_tokenizer: Any, tokenizer: Any) -> None:
    prompt, text = tokenizer(PROMPTS[0])["input_ids"], tokenizer(TEXTS[0])["input_ids"]
    (found,) = log_probabilities(expert, bos_tokenizer, PROMPTS[:1], TEXTS[:1])
    assert found == pytest.approx(plain(expert, [0, *prompt], text), abs=1e-4)
    assert found != pytest.approx(plain(expert, prompt, text), abs=1e-2)


def test_texts_that_follow_nothing(expert: PreTrainedModel, tokenizer: Any, bos_tokenizer: Any) -> None:
    ids = tokenizer("The whale rose.")["input_ids"]
    alone = plain(expert, ids[:1], ids[1:])
    after_special = plain(expert, [0], ids)
    assert log_probabilities(expert, tokenizer, None, ["The whale rose."])[0] == pytest.approx(alone, abs=1e-4)
    assert log_probabilities(expert, bos_tokenizer, None, ["The whale rose."])[0] == pytest.approx(after_special, abs=1e-4)
    assert perplexity(expert, tokenizer, None, ["The whale rose.", ""]) == pytest.approx(
        math.exp(-sum(alone) / len(alone)), rel=1e-4
    )


def test_white_space_is_a_text_as_any_other(expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Nothing is stripped: a new line is a token with a probability."""
    prompt, blank = "The captain of the ship.", "\n"
    ids = tokenizer(prompt)["input_ids"]
    new = tokenizer(prompt + blank)["input_ids"][len(ids) :]
    assert new
    expected = plain(expert, ids, new)
    (found,) = likelihood_coherence_of_each(expert, tokenizer, [prompt], [blank])
    assert found == pytest.approx(sum(expected) / len(expected), abs=1e-4)


def test_texts_without_tokens(expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, expected: list[list[float]]) -> None:
    found = first, empty, last = likelihood_coherence_of_each(
        expert, tokenizer, ["The captain of the", "", "The whale"], [TEXTS[0], "", TEXTS[3]]
    )
    assert math.isnan(empty)
    assert mean_over_texts(found) == (first + last) / 2
    with pytest.raises(ValueError, match="no text has one to average"):
        mean_over_texts([math.nan])
    assert [first, last] == pytest.approx([sum(text) / len(text) for text in (expected[0], expected[3])], abs=1e-4)
    with pytest.raises(ValueError, match="none has a token to be predicted"):
        perplexity(expert, tokenizer, ["The whale"], [""])


def test_perplexity_of_a_uniform_model_is_its_vocabulary(tokenizer: PreTrainedTokenizerBase) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(EXPERT, dtype=torch.float32)
    model.get_output_embeddings().weight.data.zero_()  # tied: the embeddings as well
    assert perplexity(model, tokenizer, PROMPTS, TEXTS) == pytest.approx(len(tokenizer), rel=1e-5)


def test_errors(expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    for measure in (likelihood_coherence_of_each, perplexity):
        with pytest.raises(ValueError, match="1 continuations for 2 prompts"):
            measure(expert, tokenizer, ["one", "two"], [" one"])
        with pytest.raises(ValueError, match="continuations is empty"):
            measure(expert, tokenizer, [], [])
        with pytest.raises(TypeError, match="pass a list of texts"):
            measure(expert, tokenizer, ["one"], " one")
        with pytest.raises(ValueError, match=r"prompts \[1\] have no tokens; prompts=None"):
            measure(expert, tokenizer, ["one", ""], [" one", " two"])
        with pytest.raises(ValueError, match="exceed the model's context of 512"):
            measure(expert, tokenizer, ["one"], [" two" * 600])


class Embeddings:
    """Made-up vectors of texts, as one of the kinds that encoders give."""

    def __init__(self, kind: Callable[[Any], Any], vectors: dict[str, list[float]]) -> None:
        self.kind, self.vectors, self.calls = kind, vectors, 0

    def __call__(self, texts: list[str]) -> Any:
        self.calls += 1
        return self.kind([self.vectors[text] for text in texts])


KINDS: list[Callable[[Any], Any]] = [list, np.array, torch.tensor, lambda rows: torch.tensor(rows, dtype=torch.bfloat16)]


VECTORS = {"p": [3, 4], "q": [1, 0], "same": [6, 8], "other": [4, -3], "back": [-2, 0], " ": [1, 1]}
EmbeddingCoherence = Callable[[Any, Sequence[str], Sequence[str]], list[float]]


def check_cosines(coherence: EmbeddingCoherence, embed: Embeddings) -> None:
    """Angles that can be read off."""
    found = coherence(embed, ["p", "p", "q", "q", "q"], ["same", "other", "p", "back", " "])
    assert found[:4] == pytest.approx([1, 0, 3 / 5, -1])
    assert math.isnan(found[4])
    assert embed.calls == 1


def dots(embed: Any, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
    """Broken: not divided by the vectors' lengths."""
    vectors = embed([*prompts, *texts])
    return [
        sum(a * b for a, b in zip(*pair, strict=True)) for pair in zip(vectors[: len(texts)], vectors[len(texts) :], strict=True)
    ]


def in_another_order(embed: Any, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
    """Broken: each text with another prompt."""
    return embedding_coherence_of_each(embed, prompts[::-1], texts)


@pytest.mark.parametrize("kind", KINDS, ids=["list", "array", "tensor", "bfloat16"])
def test_embedding_coherence_by_hand(kind: Callable[[Any], Any]) -> None:
    check_cosines(embedding_coherence_of_each, Embeddings(kind, VECTORS))


@pytest.mark.parametrize("broken", [dots, in_another_order])
def test_the_hand_computed_check_catches_a_wrong_cosine(broken: EmbeddingCoherence) -> None:
    with pytest.raises(AssertionError):
        check_cosines(broken, Embeddings(list, VECTORS))


@given(st.lists(st.tuples(*[st.floats(-9, 9)] * 3), min_size=2, max_size=8).filter(lambda rows: len(rows) % 2 == 0))
def test_embedding_coherence_is_the_cosine(rows: list[tuple[float, ...]]) -> None:
    vectors = np.array(rows) + np.array([10.0, 0, 0])  # none near 0
    texts = [str(row) for row in range(len(rows))]
    found = embedding_coherence_of_each(lambda given: vectors[[int(text) for text in given]], texts[::2], texts[1::2])
    for value, first, second in zip(found, vectors[::2], vectors[1::2], strict=True):
        assert value == pytest.approx(first @ second / math.sqrt(first @ first * (second @ second)))
    again = embedding_coherence_of_each(lambda given: 7 * vectors[[int(text) for text in given]], texts[1::2], texts[::2])
    assert again == pytest.approx(found)  # symmetric, whatever the vectors' lengths


def test_errors_of_embedding_coherence() -> None:
    def one(texts: list[str]) -> Tensor:
        return torch.zeros(1, 3)

    with pytest.raises(ValueError, match=r"embed gave \[1, 3\] for 2 texts: it has to give \[texts, d\]"):
        embedding_coherence_of_each(one, ["one"], ["two"])
    with pytest.raises(ValueError, match="2 continuations for 1 prompts"):
        embedding_coherence_of_each(one, ["one"], ["two", "three"])
    with pytest.raises(TypeError, match="pass a list of texts"):
        embedding_coherence_of_each(one, "one", ["two"])
