"""A cache, a mask and positions that the caller gives ``generate`` mean what they mean in greedy search, or are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache, LogitsProcessor, StoppingCriteria

from counterpoint.decoders import (
    ContrastiveDecodingLogitsProcessor,
    ContrastiveSearchLogitsProcessor,
    DeCoReLogitsProcessor,
    contrastive_search,
)
from counterpoint.decoders.hf.caches import CACHE
from counterpoint.decoders.testing import tiny_model
from families import FAMILY, prompts

GREEDY: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
SEARCH: dict[str, Any] = {"custom_generate": contrastive_search, "penalty_alpha": 0.6, "top_k": 4}
AMATEUR = tiny_model(1)
SLIDING = ("mistral_sliding", "gemma3_sliding")


@pytest.mark.parametrize("name", SLIDING)
def test_a_cache_that_knows_no_windows(name: str) -> None:
    """``DynamicCache()`` keeps every token, and the window is in the mask that the model makes."""
    model: Any = FAMILY[name].build()
    ids, _ = prompts(model, (15,))
    for more in ({}, SEARCH):
        assert torch.equal(model.generate(ids, **{CACHE: DynamicCache()}, **GREEDY, **more), model.generate(ids, **GREEDY, **more))
    with pytest.raises(ValueError, match="DynamicCache was made without the model's config"):
        model.generate(ids, **{CACHE: DynamicCache()}, **GREEDY, **SEARCH, candidates="tree")


@pytest.mark.parametrize("candidates", ["auto", "expand"])
def test_positions_of_one_row_are_those_of_all(candidates: str) -> None:
    model: Any = FAMILY["llama"].build()
    ids, _ = prompts(model, (9, 9))
    alone = model.generate(ids, **GREEDY, **SEARCH, candidates=candidates)
    given = model.generate(ids, position_ids=torch.arange(9)[None], **GREEDY, **SEARCH, candidates=candidates)
    assert torch.equal(given, alone)


def readers(model: Any) -> list[LogitsProcessor]:
    """Processors that read the text again."""
    return [
        ContrastiveDecodingLogitsProcessor(AMATEUR),
        DeCoReLogitsProcessor(model, [(1, 0)]),
        ContrastiveSearchLogitsProcessor(model),
    ]


def test_ids_that_lack_what_the_cache_holds_are_refused() -> None:
    """``generate`` takes the last ids alone where the mask is of the whole text; whoever reads the text would read its end."""
    model: Any = FAMILY["llama"].build()
    ids, _ = prompts(model, (12,))

    def written(begun: int, *processors: LogitsProcessor) -> list[int]:
        cache = DynamicCache(config=model.config)
        with torch.no_grad():
            model(ids[:, :7], **{CACHE: cache}, use_cache=True)
        given = {CACHE: cache, "attention_mask": torch.ones_like(ids), "logits_processor": [*processors]}
        found: list[int] = model.generate(ids[:, begun:], **given, **GREEDY)[0, ids.shape[1] - begun :].tolist()
        return found

    assert written(7) == written(0)
    for processor in readers(model):
        written(0, processor)
        with pytest.raises(ValueError, match="attention_mask has 12 columns, input_ids 5: the cache holds a beginning"):
            written(7, processor)


@pytest.mark.parametrize("kept", [{}, {"return_dict_in_generate": True, "output_scores": True}])
def test_stopping_criteria_are_given_what_greedy_search_gives_them(kept: dict[str, bool]) -> None:
    model: Any = FAMILY["llama"].build()
    ids, _ = prompts(model, (9,))

    class Noting(StoppingCriteria):
        def __init__(self) -> None:
            self.given: list[Any] = []

        def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
            self.given.append(None if scores is None else [each.shape for each in scores])
            return torch.zeros(len(input_ids), dtype=torch.bool)

    given = []
    for more in ({}, SEARCH):
        noting = Noting()
        model.generate(ids, stopping_criteria=[noting], **GREEDY, **more, **kept)
        given.append(noting.given)
    assert given[0] == given[1]
