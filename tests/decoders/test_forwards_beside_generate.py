"""Forwards beside those of ``generate``: positions as it numbers them, caches that are looked at, state that is left alone."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

import every_family
import references
from counterpoint.decoders import (
    ContrastiveDecodingLogitsProcessor,
    ContrastiveSearchLogitsProcessor,
    ModelAmateur,
    contrastive_search,
    speculative_contrastive_decoding,
)
from every_family import FIRST_WORD, WORDS

ALPHA, K, STEPS = 0.6, 3, 6
RULE: dict[str, Any] = {"custom_generate": contrastive_search, "penalty_alpha": ALPHA, "top_k": K}
PLAIN: dict[str, Any] = {"max_new_tokens": STEPS, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
POSITIONED = ["bert:BertLMHeadModel", "roberta:RobertaForCausalLM", "gpt_neo:GPTNeoForCausalLM"]
"""Families that number tokens from the slot in the row, or from the padding token's id, where nobody numbers them."""


def prompts(*lengths: int) -> tuple[Tensor, Tensor]:
    """Rows of words, padded on the left, and their mask."""
    ids, mask = torch.zeros(len(lengths), max(lengths), dtype=torch.long), torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(length)
        ids[row, -length:] = torch.randint(FIRST_WORD, WORDS, (length,), generator=generator)
        mask[row, -length:] = 1
    return ids, mask


def generate(model: PreTrainedModel, ids: Tensor, mask: Tensor | None = None, **kwargs: Any) -> Any:
    """The result of ``generate`` with logits."""
    mask = torch.ones_like(ids) if mask is None else mask
    arguments = PLAIN | {"return_dict_in_generate": True, "output_logits": True} | kwargs
    return model.generate(ids, attention_mask=mask, **arguments)


def new(output: Any) -> list[list[int]]:
    """The tokens that were generated."""
    tokens: list[list[int]] = output.sequences[:, -STEPS:].tolist()
    return tokens


@pytest.mark.parametrize("name", POSITIONED)
def test_a_padded_row_is_the_row_alone_under_the_processor(name: str) -> None:
    model = every_family.build(name)
    ids, mask = prompts(10, 6)
    padded = generate(model, ids, mask, logits_processor=[ContrastiveSearchLogitsProcessor(model, penalty_alpha=ALPHA, top_k=K)])
    alone = generate(model, ids[1:, 4:], logits_processor=[ContrastiveSearchLogitsProcessor(model, penalty_alpha=ALPHA, top_k=K)])
    assert new(padded)[1] == new(alone)[0] == new(generate(model, ids[1:, 4:], **RULE))[0]


@pytest.mark.parametrize("name", ["roberta:RobertaForCausalLM", "gpt2:GPT2LMHeadModel"])
def test_drafts_are_verified_at_the_positions_of_generate(name: str) -> None:
    model, amateur = every_family.build(name), every_family.build(name, seed=1)
    ids, _ = prompts(9)
    plain = generate(model, ids, logits_processor=[ContrastiveDecodingLogitsProcessor(amateur)])
    drafted = generate(model, ids, custom_generate=speculative_contrastive_decoding, amateur=amateur)
    assert new(drafted) == new(plain)
    torch.testing.assert_close(torch.stack(drafted.logits), torch.stack(plain.logits), atol=1e-3, rtol=1e-3)


def test_a_model_that_takes_no_cache_is_not_trusted_with_drafts() -> None:
    model, amateur = (every_family.build("openai-gpt:OpenAIGPTLMHeadModel", seed=seed) for seed in (0, 1))
    with pytest.raises(ValueError, match="the expert OpenAIGPTLMHeadModel keeps its state outside of any cache"):
        generate(model, prompts(9)[0], custom_generate=speculative_contrastive_decoding, amateur=amateur)


@pytest.mark.parametrize("leaves", ["nothing", "too much"])
def test_a_cache_that_is_not_filled_as_it_says_is_noticed(leaves: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the signature promises: one model leaves its cache empty, the other puts each token into it twice."""
    model, amateur = (every_family.build("gpt2:GPT2LMHeadModel", seed=seed) for seed in (0, 1))
    forward = type(model).forward

    def careless(self: Any, input_ids: Tensor, use_cache: bool = True, **kwargs: Any) -> Any:
        if leaves == "nothing":
            return forward(
                self,
                input_ids=input_ids,
                use_cache=False,
                **{n: v for n, v in kwargs.items() if "cache" not in n and "past" not in n},
            )
        output = forward(self, input_ids=input_ids, use_cache=use_cache, **kwargs)
        kept = next((kwargs[name] for name in ("cache", "past_key_values") if kwargs.get(name) is not None), None)
        for layer in [] if kept is None else kept.layers:
            layer.update(layer.keys[:, :, -input_ids.shape[1] :], layer.values[:, :, -input_ids.shape[1] :])
        return output

    careless.__signature__ = __import__("inspect").signature(forward)  # type: ignore[attr-defined]
    monkeypatch.setattr(type(model), "forward", careless)
    ids = prompts(9)[0]
    with pytest.raises(ValueError, match=r"positions in its cache after 9 tokens|not read several tokens after those in its cache"):
        generate(model, ids, custom_generate=speculative_contrastive_decoding, amateur=amateur)
    if leaves == "nothing":
        follower = ModelAmateur(amateur)
        for length in (5, 6, 9):
            whole = forward(amateur, input_ids=ids[:, :length], use_cache=False).logits[:, -1]
            torch.testing.assert_close(follower.logits(ids[:, :length]), whole)
        with pytest.raises(ValueError, match="use_cache=False"):
            generate(model, ids, **RULE)


def test_a_cache_of_a_familys_own_kind_is_refused_and_done_without() -> None:
    name = "minimax:MiniMaxForCausalLM"
    model, amateur = every_family.build(name), every_family.build(name, seed=1)
    ids, _ = prompts(9)
    with pytest.raises(ValueError, match=r"keeps its state in a MiniMaxCache.*use_cache=False"):
        generate(model, ids, **RULE)
    assert (
        new(generate(model, ids, **RULE, use_cache=False))[0] == references.contrastive_search(model, ids, ALPHA, K, STEPS).tokens
    )
    whole = amateur(input_ids=ids, use_cache=False).logits[:, -1]
    torch.testing.assert_close(ModelAmateur(amateur).logits(ids), whole, atol=1e-4, rtol=1e-4)


def test_state_in_modules_is_not_overwritten() -> None:
    """RecurrentGemma goes on from what its modules hold: no second forward on the model that generates, one on a copy."""
    model = every_family.build("recurrent_gemma:RecurrentGemmaForCausalLM")
    ids, _ = prompts(9)
    for processor in (ContrastiveSearchLogitsProcessor(model), ContrastiveDecodingLogitsProcessor(model)):
        with pytest.raises(ValueError, match=r"keeps the state of the text in its modules.*copy\.deepcopy"):
            generate(model, ids, logits_processor=[processor])
    plain = generate(model, ids)
    beside = generate(model, ids, logits_processor=[ContrastiveSearchLogitsProcessor(deepcopy(model), penalty_alpha=0.0, top_k=1)])
    assert new(beside) == new(plain)


def test_the_prompts_logits_are_read_where_a_family_would_keep_the_last_alone() -> None:
    model = every_family.build("falcon_h1:FalconH1ForCausalLM")
    ids, _ = prompts(9)
    found = generate(model, ids, logits_processor=[ContrastiveSearchLogitsProcessor(model, penalty_alpha=ALPHA, top_k=K)])
    assert new(found)[0] == references.contrastive_search(model, ids, ALPHA, K, STEPS).tokens
