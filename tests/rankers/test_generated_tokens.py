"""A likelihood of what was generated is that of its tokens, and not of others that spell the same text."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from counterpoint.decoders.forwards.encoding import encode_pair
from counterpoint.rankers import CombinedRanker, LikelihoodRanker, best_of, ranked_search, rerank
from counterpoint.rankers.continuation_texts import GeneratedText
from small_tokenizers import KINDS, Kind

PROMPTS = ["The captain of the", "The w"]
BYTES = [kind for kind in KINDS if kind.name in ("bytes", "bytes bos eos", "bytes one both", "first bos eos")]


def model_of(tokenizer: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.3, **sizes, **ends)).eval()


def inputs_of(kind: Kind, tokenizer: Any) -> Any:
    """The prompts as the model reads them, padded on the left."""
    before = tokenizer.convert_tokens_to_ids(list(kind.before))
    rows = [{"input_ids": [*before, *tokenizer(text, add_special_tokens=False)["input_ids"]]} for text in PROMPTS]
    return tokenizer.pad(rows, padding_side="left", return_tensors="pt")


def plain(model: Any, prompt: Sequence[int], continuation: Sequence[int]) -> float:
    """The log-probability of the continuation's tokens, from one forward."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *continuation]])).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(prompt) - 1 + place, token]) for place, token in enumerate(continuation))


def unfinished(tokenizer: Any, new: Sequence[int]) -> list[int]:
    """New tokens without those that end a text."""
    kept = list(new)
    while kept and kept[-1] in tokenizer.all_special_ids:
        kept.pop()
    return kept


@pytest.mark.parametrize("search", [best_of, ranked_search])
@pytest.mark.parametrize("kind", BYTES, ids=str)
def test_searches(kind: Kind, search: Any) -> None:
    tokenizer: Any = kind.tokenizer
    model: Any = model_of(tokenizer)
    inputs = inputs_of(kind, tokenizer)
    ranker = CombinedRanker([LikelihoodRanker(model, tokenizer, form="log_likelihood")], weights=[2.0], standardise=False)
    rounds = {} if search is best_of else {"tokens_per_round": 3}
    torch.manual_seed(1)
    found = model.generate(
        **inputs,
        custom_generate=search,
        ranker=ranker,
        processing_class=tokenizer,
        candidates=8,
        **rounds,
        do_sample=True,
        max_new_tokens=6,
        return_dict_in_generate=True,
    )
    spelled_otherwise = 0
    for row, mask, prompt, tree in zip(inputs.input_ids, inputs.attention_mask, PROMPTS, found.tree, strict=True):
        before = row[mask.bool()].tolist()
        for candidate in [each for pool in tree for each in pool if each.text.strip()]:
            tokens = unfinished(tokenizer, candidate.tokens)
            assert candidate.score == pytest.approx(2 * plain(model, before, tokens), abs=1e-3)
            spelled_otherwise += encode_pair(tokenizer, prompt, candidate.text)[1] != tuple(tokens)
    assert spelled_otherwise or not kind.name.startswith("bytes")


@pytest.mark.parametrize("kind", BYTES, ids=str)
def test_rerank(kind: Kind) -> None:
    tokenizer: Any = kind.tokenizer
    model: Any = model_of(tokenizer)
    inputs = inputs_of(kind, tokenizer)
    length = inputs.input_ids.shape[1]
    torch.manual_seed(1)
    ids = model.generate(**inputs, do_sample=True, max_new_tokens=6, num_return_sequences=3)
    ranker = LikelihoodRanker(model, tokenizer, form="log_likelihood")
    for index, found in enumerate(rerank(ranker, PROMPTS, ids, tokenizer=tokenizer, prompt_length=length)):
        before = inputs.input_ids[index][inputs.attention_mask[index].bool()].tolist()
        for place, score in zip(found.order, found.scores, strict=True):
            row = ids[3 * index + place, length:].tolist()
            ends = [at for at, token in enumerate(row) if token == tokenizer.eos_token_id]
            tokens = unfinished(tokenizer, row[: ends[0]] if ends else row)
            assert score == pytest.approx(plain(model, before, tokens), abs=1e-3)


def test_elsewhere_it_is_a_text() -> None:
    """For another tokenizer, after another prefix, and in a file."""
    kind, other = BYTES[0], BYTES[1]
    tokenizer: Any = kind.tokenizer
    model, prompt = model_of(tokenizer), tokenizer("The ship")["input_ids"]
    new = [tokenizer(letter)["input_ids"][0] for letter in " whale"]
    text = GeneratedText(tokenizer, prompt, new)
    assert text == " whale"
    assert type(pickle.loads(pickle.dumps(text))) is str  # noqa: S301  # our own
    for its_tokenizer, prefix in ((other.tokenizer, "The ship"), (tokenizer, "A ship")):
        ranker = LikelihoodRanker(model, its_tokenizer, form="log_likelihood")
        assert float(ranker.score([prefix], [[text]])[0]) == float(ranker.score([prefix], [[str(text)]])[0])
    ranker = LikelihoodRanker(model, tokenizer, form="log_likelihood")
    assert float(ranker.score(["The ship"], [[text]])[0]) == pytest.approx(plain(model, prompt, new), abs=1e-3)
