"""The logits processor: the same scores whatever loop calls it and in whatever order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

import laws
import references
from counterpoint.decoders import ContrastiveSearchLogitsProcessor
from families import FAMILY, prompts
from releases import skip_failing_drafts

SOME = ["llama", "gpt2", "mistral_sliding", "gemma3_sliding", "bloom", "mamba", "rwkv"]
CACHED = ["llama", "mistral_sliding", "gemma3_sliding"]


def processor(model: PreTrainedModel, **kwargs: Any) -> ContrastiveSearchLogitsProcessor:
    return ContrastiveSearchLogitsProcessor(model, penalty_alpha=laws.ALPHA, top_k=laws.K, **kwargs)


class Stateless(ContrastiveSearchLogitsProcessor):
    """Forgets everything before each call."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.prefix.clear()
        self.context = None
        return super().__call__(input_ids, scores)


def generate(model: PreTrainedModel, ids: Tensor, mask: Tensor, used: ContrastiveSearchLogitsProcessor, **kwargs: Any) -> list[Any]:
    torch.manual_seed(0)
    arguments = laws.PLAIN | {"attention_mask": mask, "logits_processor": [used]} | kwargs
    return model.generate(ids, **arguments).tolist()


@pytest.mark.parametrize("name", SOME)
def test_greedy_is_contrastive_search(name: str) -> None:
    model = FAMILY[name].build()
    ids, mask = prompts(model, laws.LENGTHS if FAMILY[name].padded else laws.LENGTHS[:1])
    tokens = [row[ids.shape[1] :] for row in generate(model, ids, mask, processor(model))]
    assert tokens == laws.reference(FAMILY[name], model)[: len(ids)]


@pytest.mark.parametrize("name", CACHED)
@pytest.mark.parametrize(
    "mode",
    [
        {"num_beams": 3},
        {"num_beams": 4, "num_return_sequences": 2, "early_stopping": True, "eos_token_id": 2},
        {"num_beams": 3, "do_sample": True, "temperature": 0.2},
        {"do_sample": True, "num_return_sequences": 3, "temperature": 0.2},
        {"use_cache": False},
    ],
    ids=str,
)
def test_rows_are_followed(name: str, mode: dict[str, Any]) -> None:
    model = FAMILY[name].build()
    ids, mask = prompts(model, laws.LENGTHS)
    kept = processor(model)
    expected = generate(model, ids, mask, Stateless(model, penalty_alpha=laws.ALPHA, top_k=laws.K), **mode)
    assert generate(model, ids, mask, kept, **mode) == expected
    assert generate(model, ids, mask, kept, **mode) == expected, "a second generate meets the first one's state"


@pytest.mark.parametrize("name", CACHED)
def test_assisted_decoding(name: str) -> None:
    model = FAMILY[name].build()
    ids, mask = prompts(model, (11,))
    expected = laws.new_tokens(model, ids, mask)
    looked_up = generate(model, ids, mask, processor(model), prompt_lookup_num_tokens=3)
    assert [row[11:] for row in looked_up] == expected
    skip_failing_drafts(model, {"assistant_model": model})
    assisted = generate(model, ids, mask, processor(model), assistant_model=model)
    assert [row[11:] for row in assisted] == expected


def test_scores_are_the_equation() -> None:
    model = FAMILY["llama"].build()
    ids, _ = prompts(model, (9,))
    logits, context = references.forward(model, ids, [])
    found = processor(model)(ids, logits[None])[0]
    best = logits.topk(laws.K).indices.tolist()
    for token in range(len(logits)):
        if token not in best:
            assert found[token] == -torch.inf
            continue
        _, hidden = references.forward(model, ids, [token])
        cosine = references.largest_cosine(hidden[-1], context)
        expected = (1 - laws.ALPHA) * logits.softmax(-1)[token] - laws.ALPHA * cosine
        assert found[token].item() == pytest.approx(expected.item(), abs=1e-5)


def test_interleaved_texts() -> None:
    model = FAMILY["llama"].build()
    used = processor(model)
    texts = [prompts(model, (length,))[0] for length in (6, 9, 12)]
    logits = [model(text).logits[:, -1] for text in texts]
    expected = [processor(model)(text, score) for text, score in zip(texts, logits, strict=True)]
    for _ in range(2):
        for text, score, scores in zip(texts, logits, expected, strict=True):
            torch.testing.assert_close(used(text, score), scores, atol=1e-5, rtol=1e-5)


def test_input_stays_as_it_was() -> None:
    model = FAMILY["llama"].build()
    ids, _ = prompts(model, laws.LENGTHS)
    scores = model(ids).logits[:, -1]
    before = ids.clone(), scores.clone()
    processor(model)(ids, scores)
    assert torch.equal(ids, before[0])
    assert torch.equal(scores, before[1])


def test_padding_is_that_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FAMILY["llama"].build()
    ids, mask = prompts(model, laws.LENGTHS)
    eos = model.config.eos_token_id
    padded = ids.masked_fill(mask == 0, eos)
    for mode in ({}, {"num_beams": 2}):
        expected = [row[ids.shape[1] :] for row in generate(model, ids, mask, processor(model), **mode)]
        assert [row[ids.shape[1] :] for row in generate(model, padded, mask, processor(model), **mode)] == expected


def test_padding_that_cannot_be_told_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FAMILY["llama"].build()
    ids, mask = prompts(model, laws.LENGTHS)
    logits = model(ids, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp(min=0)).logits[:, -1]
    expected = processor(model, attention_mask=mask)(ids, logits)
    torch.testing.assert_close(processor(model)(ids, logits), expected)  # outside of generate(): by pad_token_id
    eos = model.config.eos_token_id
    monkeypatch.setattr(model.generation_config, "pad_token_id", eos)
    padded = ids.masked_fill(mask == 0, eos)
    with pytest.raises(ValueError, match=r"pad_token_id=2 .* pass attention_mask="):
        processor(model)(padded, logits)
    torch.testing.assert_close(processor(model, attention_mask=mask)(padded, logits), expected)
