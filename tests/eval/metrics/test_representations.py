"""Isotropy against the loop over pairs of tokens, text by text; pooled vectors against one text at a time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import BertConfig, BertModel, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

import families
from counterpoint.eval import isotropy, isotropy_of_each, mean_pooling
from counterpoint.eval.metrics.representations import sum_of_cosines
from families import Family

TEXTS = ["The captain of the ship was on the deck.", "My fellow citizens,", "", "The whale rose and rose and rose. " * 9, "a"]
FAMILIES = [
    family for family in families.ALL if family.name in ("gpt2", "opt", "opt_350m", "gemma3_sliding", "bloom", "mamba", "rwkv")
]


@pytest.fixture(scope="module")
def numbers() -> PreTrainedTokenizerBase:
    """A tokenizer of texts that are numbers of tokens."""
    tokenizer = Tokenizer(WordLevel({str(token): token for token in range(families.VOCABULARY)}, unk_token="0"))  # noqa: S106
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def states_of(model: Any, ids: list[int], layer: int) -> torch.Tensor:
    """Hidden states ``[tokens, hidden]`` of one text, by the model with its head."""
    with torch.no_grad():
        output = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    states: torch.Tensor = output.hidden_states[layer][0].double()
    return states


def pair_by_pair(states: torch.Tensor) -> tuple[float, int]:
    """The sum of cosines of a text's ordered pairs of tokens, and how many there are."""
    pairs = [(i, j) for i in range(len(states)) for j in range(len(states)) if i != j]
    return sum(float(states[i] @ states[j] / (states[i].norm() * states[j].norm())) for i, j in pairs), len(pairs)


def check_isotropy(found: float, texts: list[tuple[float, int]]) -> None:
    """The ratio of sums over texts."""
    assert found == pytest.approx(1 - sum(cosines for cosines, _ in texts) / sum(pairs for _, pairs in texts), abs=1e-5)


@pytest.mark.parametrize("layer", [-1, 0, 2])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_against_the_loop_over_pairs(
    expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, layer: int, batch_size: int
) -> None:
    ids = [tokenizer(text)["input_ids"][:40] for text in TEXTS]
    assert max(map(len, ids)) == 40
    naive = [pair_by_pair(states_of(expert, each, layer)) if len(each) > 1 else (0.0, 0) for each in ids]
    check_isotropy(isotropy(expert, tokenizer, TEXTS, layer=layer, max_tokens=40, batch_size=batch_size), naive)
    each = isotropy_of_each(expert, tokenizer, TEXTS, layer=layer, max_tokens=40, batch_size=batch_size)
    assert [math.isnan(value) for value in each] == [False, False, True, False, True]
    for value, (cosines, pairs) in zip(each, naive, strict=True):
        assert math.isnan(value) or value == pytest.approx(1 - cosines / pairs, abs=1e-5)
    with pytest.raises(AssertionError):  # broken: the mean over texts
        check_isotropy(sum(value for value in each if value == value) / 3, naive)
    with pytest.raises(AssertionError):  # broken: a token is paired with itself
        check_isotropy(1 - sum(c + math.sqrt(n) for c, n in naive) / sum(n + math.sqrt(n) for _, n in naive), naive)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_families_are_read_right_in_batches(numbers: PreTrainedTokenizerBase, family: Family) -> None:
    model = family.build()
    texts = ["5 9 17 4 33 71 8", "12 40", "7 7 8 9", "90 6 5"]
    naive = [pair_by_pair(states_of(model, [int(word) for word in text.split()], -1)) for text in texts]
    check_isotropy(isotropy(model, numbers, texts, batch_size=4), naive)


@given(st.integers(1, 6), st.integers(1, 4), st.data())
def test_sum_of_cosines(tokens: int, hidden: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.floats(-5, 5), min_size=2 * tokens * hidden, max_size=2 * tokens * hidden))
    states = torch.tensor(values, dtype=torch.float64).view(2, tokens, hidden)
    states[..., 0] += 10
    seen = torch.tensor([[True] * tokens, [True] + [False] * (tokens - 1)])
    found = sum_of_cosines(states, seen)
    assert found[0].item() == pytest.approx(pair_by_pair(states[0])[0], abs=1e-8)
    assert found[1].item() == pytest.approx(0, abs=1e-8)  # one token has no pairs, whatever the padding's states
    scaled = states * torch.arange(1.0, tokens + 1)[:, None]
    assert torch.allclose(sum_of_cosines(scaled, seen), found)
    assert torch.allclose(sum_of_cosines(states.flip(1), seen.flip(1)), found)


def test_known_values() -> None:
    alike = torch.ones(1, 5, 3)
    assert sum_of_cosines(alike, torch.ones(1, 5, dtype=torch.bool)).item() == pytest.approx(20)
    orthogonal = torch.eye(4)[None]
    assert sum_of_cosines(orthogonal, torch.ones(1, 4, dtype=torch.bool)).item() == pytest.approx(0)


def test_pooled_vectors_are_means_of_each_text(expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    found = mean_pooling(expert, tokenizer, max_tokens=40, batch_size=3)(TEXTS)
    assert found[2].abs().max() == 0
    for row, text in enumerate(TEXTS):
        if text:
            expected = states_of(expert, tokenizer(text)["input_ids"][:40], -1).mean(dim=0)
            assert torch.allclose(found[row].double(), expected, atol=1e-4)
    assert torch.allclose(mean_pooling(expert, tokenizer, max_tokens=40)(TEXTS[::-1]).flip(0), found, atol=1e-5)
    assert len(mean_pooling(expert, tokenizer)([])) == 0


def test_encoders_that_read_both_ways_do_not_see_padding(numbers: PreTrainedTokenizerBase) -> None:
    config = BertConfig(vocab_size=96, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertModel(config).eval()
    texts = ["5 9 17 4 33 71 8", "12 40", "7 7 8 9"]
    states = [states_of(model, [int(word) for word in text.split()], -1) for text in texts]
    check_isotropy(isotropy(model, numbers, texts), [pair_by_pair(each) for each in states])
    found = mean_pooling(model, numbers)(texts).double()
    assert torch.allclose(found, torch.stack([each.mean(dim=0) for each in states]), atol=1e-5)


def test_errors(expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match="none has two tokens to compare"):
        isotropy(expert, tokenizer, ["a", ""])
    with pytest.raises(TypeError, match="pass a list of texts"):
        isotropy(expert, tokenizer, "one string")
    with pytest.raises(ValueError, match=r"layer=5: the model has hidden states 0 \(embeddings\) to 4"):
        isotropy(expert, tokenizer, TEXTS, layer=5)
    with pytest.raises(ValueError, match="layer=-6"):
        mean_pooling(expert, tokenizer, layer=-6)
    with pytest.raises(ValueError, match=r"has an encoder and a decoder; give one of them, e\.g\. model\.get_encoder\(\)"):
        isotropy(families.ENCODER_DECODER[0].build(), tokenizer, TEXTS)


def test_an_encoder_by_itself(numbers: PreTrainedTokenizerBase) -> None:
    encoder: Any = families.ENCODER_DECODER[0].build().get_encoder()
    with torch.no_grad():
        states = encoder(input_ids=torch.tensor([[5, 9, 17]])).last_hidden_state[0].double()
    check_isotropy(isotropy(encoder, numbers, ["5 9 17"]), [pair_by_pair(states)])
