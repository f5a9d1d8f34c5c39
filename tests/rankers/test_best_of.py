"""The best of several proposals: what the ranker puts first of what ``generate`` itself gives, samples or beams."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.rankers import OverlapRanker, Ranker, best_of, rerank

PROMPTS = ["The old man went to the window and", "The captain"]
RANKER = OverlapRanker()


def search(model: Any, inputs: Any, tokenizer: Any, **arguments: Any) -> Any:
    """What ``best_of`` finds."""
    given = {"custom_generate": best_of, "ranker": RANKER, "processing_class": tokenizer, "max_new_tokens": 8}
    return model.generate(**inputs, **{**given, **arguments})


@pytest.mark.parametrize("prompts", [PROMPTS[:1], PROMPTS])
def test_beams_are_what_beam_search_gives(prompts: list[str], amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    beams = {"num_beams": 4, "num_return_sequences": 4, "do_sample": False}
    model: Any = amateur
    found = model.generate(**inputs, **beams, max_new_tokens=8)
    width = inputs.input_ids.shape[1]
    expected = rerank(RANKER, prompts, found, tokenizer=tokenizer, prompt_length=width)
    best = search(amateur, inputs, tokenizer, **beams)
    texts = [tokenizer.decode(row[width:], skip_special_tokens=True) for row in best]
    assert texts == [each.texts[0] for each in expected]
    output = search(amateur, inputs, tokenizer, **beams, return_dict_in_generate=True)
    assert torch.equal(output.sequences, best)
    for pool, each in zip(output.tree, expected, strict=True):
        assert [candidate.text for candidate in pool[0]] == list(dict.fromkeys(each.texts))
    torch.testing.assert_close(output.ranker_scores, torch.tensor([each.scores[0] for each in expected]))


def test_samples_are_reranked(amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    inputs = tokenizer(PROMPTS[:1], return_tensors="pt")
    sampling = {"do_sample": True, "top_p": 0.9, "top_k": 0}
    model: Any = amateur
    torch.manual_seed(3)
    found = model.generate(**inputs, **sampling, max_new_tokens=8, num_return_sequences=6)
    (expected,) = rerank(RANKER, PROMPTS[:1], found, tokenizer=tokenizer, prompt_length=inputs.input_ids.shape[1])
    torch.manual_seed(3)
    best = search(amateur, inputs, tokenizer, **sampling, candidates=6)
    assert tokenizer.decode(best[0, inputs.input_ids.shape[1] :], skip_special_tokens=True) == expected.texts[0]


def test_one_beam_of_a_ranker_that_finds_all_equal_is_the_first(
    amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    class Even(Ranker):
        comparable = True

        def prepare(self, prefixes: Any) -> Any:
            return lambda candidates: [torch.zeros(len(own)) for own in candidates]

    inputs = tokenizer(PROMPTS, return_tensors="pt", padding=True)
    beams = {"num_beams": 3, "do_sample": False}
    model: Any = amateur
    plain = model.generate(**inputs, **beams, max_new_tokens=8)
    assert torch.equal(search(amateur, inputs, tokenizer, **beams, num_return_sequences=3, ranker=Even()), plain)


def test_what_it_cannot_do_is_refused(amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    inputs = tokenizer(PROMPTS, return_tensors="pt", padding=True)
    with pytest.raises(ValueError, match="ranker=None"):
        search(amateur, inputs, tokenizer, num_beams=2, ranker=None)
    with pytest.raises(ValueError, match="processing_class=None"):
        search(amateur, inputs, None, num_beams=2)
    with pytest.raises(ValueError, match="do_sample=False proposes the same continuation"):
        search(amateur, inputs, tokenizer, do_sample=False)
