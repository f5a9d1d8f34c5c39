"""The laws every decoder keeps, as checks that raise ``AssertionError`` where one is broken.

The tests hold the library to them over families and modes; ``test_broken_mocks.py`` shows that each can fail.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.generation.streamers import BaseStreamer

import references
from counterpoint.decoders import contrastive_search
from families import Family, prompts
from rounding import rounding

ALPHA, K, STEPS = 0.6, 4, 14
LENGTHS = (11, 7, 4)
RULE: dict[str, Any] = {"custom_generate": contrastive_search, "penalty_alpha": ALPHA, "top_k": K}
PLAIN: dict[str, Any] = {"max_new_tokens": STEPS, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
UNLIKE_TIES = rounding(torch.float32, terms=96, largest=10.0)
"""Least lead of a candidate, in score or in logit, that rounding cannot turn over: toy models are 3 layers of width 32."""


def new_tokens(model: PreTrainedModel, ids: Tensor, mask: Tensor | None = None, **kwargs: Any) -> list[list[int]]:
    """The tokens that ``generate`` appends, by contrastive search unless told otherwise."""
    arguments = PLAIN | RULE | kwargs
    output = model.generate(ids, attention_mask=torch.ones_like(ids) if mask is None else mask, **arguments)
    return [row[-arguments["max_new_tokens"] :].tolist() for row in output]


def batch(family: Family, model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Ragged prompts and their mask, padded where the kind of model wants it."""
    return prompts(model, LENGTHS, padding="right" if family.kind == "encoder_decoder" else "left")


def rows(ids: Tensor, mask: Tensor) -> list[Tensor]:
    """Each prompt alone and without padding, ``[1, length]``."""
    return [row[kept.bool()][None] for row, kept in zip(ids, mask, strict=True)]


def reference(family: Family, model: PreTrainedModel) -> list[list[int]]:
    """What the paper's rule gives from scratch for each prompt of ``batch``, whatever the attention computes it."""
    same = family.name != "falcon_alibi"  # whose biases transformers adds twice in eager attention
    return _reference(family, family.attentions[0] if same else model.config._attn_implementation)


@cache
def _reference(family: Family, attention: str) -> list[list[int]]:
    model = family.build(attention)
    found = [references.contrastive_search(model, row, ALPHA, K, STEPS) for row in rows(*batch(family, model))]
    for continuation in found:
        assert min(continuation.margins + continuation.edges) > UNLIKE_TIES, (
            f"{family}: a tie, no test of anything; choose another seed"
        )
    return [continuation.tokens for continuation in found]


def l1_rows_are_independent(family: Family, model: PreTrainedModel, **kwargs: Any) -> None:
    """A left-padded batch gives each row what it gets alone."""
    ids, mask = batch(family, model)
    alone = [new_tokens(model, row, **kwargs)[0] for row in rows(ids, mask)]
    assert new_tokens(model, ids, mask, **kwargs) == alone


def l2_fast_equals_plain(family: Family, model: PreTrainedModel, **kwargs: Any) -> None:
    """Whatever way the candidates are computed, tokens are those of separate forwards from scratch."""
    ids, mask = batch(family, model)
    if not family.padded:
        ids, mask = rows(ids, mask)[0], torch.ones_like(ids[:1])
    assert new_tokens(model, ids, mask, **kwargs) == reference(family, model)[: len(ids)]


def l3_calls_do_not_meet(model: PreTrainedModel, **kwargs: Any) -> None:
    """A call gives the same again after another one, and while another one runs on the same model."""
    ids, mask = prompts(model, LENGTHS)
    other, other_mask = prompts(model, (9, 13, 5))
    first, second = new_tokens(model, ids, mask, **kwargs), new_tokens(model, other, other_mask, **kwargs)
    assert new_tokens(model, ids, mask, **kwargs) == first
    found: dict[int, list[list[list[int]]]] = {0: [], 1: []}

    def call(index: int, prompt: Tensor, prompt_mask: Tensor) -> None:
        for _ in range(3):
            found[index].append(new_tokens(model, prompt, prompt_mask, **kwargs))

    threads = [threading.Thread(target=call, args=(0, ids, mask)), threading.Thread(target=call, args=(1, other, other_mask))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: [first] * 3, 1: [second] * 3}


class Listener(BaseStreamer):
    """Keeps what a streamer is given."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.ended = False

    def put(self, value: Tensor) -> None:
        """One call with the prompt, then one per token."""
        self.tokens += value.flatten().tolist()

    def end(self) -> None:
        """The text is complete."""
        self.ended = True


def l4_streams(model: PreTrainedModel, **kwargs: Any) -> None:
    """A streamer hears the prompt and every token, and the end."""
    ids, _ = prompts(model, (6,))
    listener = Listener()
    tokens = new_tokens(model, ids, streamer=listener, **kwargs)
    assert listener.tokens == ids[0].tolist() + tokens[0]
    assert listener.ended


def l5_degenerate_settings_are_greedy(family: Family, model: PreTrainedModel) -> None:
    """One candidate, or no penalty, is greedy search."""
    ids, mask = batch(family, model)
    greedy = new_tokens(model, ids, mask, custom_generate=None, penalty_alpha=None, top_k=None)
    assert new_tokens(model, ids, mask, top_k=1) == greedy
    assert new_tokens(model, ids, mask, penalty_alpha=0.0) == greedy


def l7_outputs_mean_what_they_say(model: PreTrainedModel) -> None:
    """Inputs stay as they were; logits are the model's, scores what processors (in place, as some are) made of them."""
    ids, mask = prompts(model, LENGTHS)
    ids_before, mask_before = ids.clone(), mask.clone()
    weights_before = {name: weight.clone() for name, weight in model.named_parameters()}

    def in_place(input_ids: Tensor, scores: Tensor) -> Tensor:
        scores[:, 5] = -torch.inf
        return scores

    output = model.generate(
        ids,
        attention_mask=mask,
        **(PLAIN | RULE),
        logits_processor=[in_place],
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
    )
    assert torch.equal(ids, ids_before)
    assert torch.equal(mask, mask_before)
    assert all(torch.equal(weight, weights_before[name]) for name, weight in model.named_parameters())
    assert len(output.logits) == len(output.scores) == STEPS
    full_mask = torch.cat([mask, torch.ones(len(ids), STEPS, dtype=mask.dtype)], dim=1)
    positions = (full_mask.cumsum(-1) - 1).clamp(min=0)
    logits = model(output.sequences, attention_mask=full_mask, position_ids=positions).logits[:, ids.shape[1] - 1 : -1]
    torch.testing.assert_close(torch.stack(output.logits, dim=1), logits, atol=1e-4, rtol=1e-4)
    logits[..., 5] = -torch.inf
    torch.testing.assert_close(torch.stack(output.scores, dim=1), logits, atol=1e-4, rtol=1e-4)
    assert not (output.sequences[:, ids.shape[1] :] == 5).any()


Law = Callable[..., None]
