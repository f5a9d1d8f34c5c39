"""Scores of given texts: those generation used, whatever family, decoder and way of reading; and what has no score."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import (
    NoRepeatNGramLogitsProcessor,
    PreTrainedModel,
    RepetitionPenaltyLogitsProcessor,
    TopPLogitsWarper,
)

from counterpoint.decoders import (
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    DoLaLogitsProcessor,
    LayerFusionLogitsProcessor,
    ModelAmateur,
    PooledAmateur,
    PromptAmateur,
    extrapolation,
    score,
)
from families import ALL, prompts

FAMILY = {family.name: family for family in ALL}
LLAMA, GPT2 = FAMILY["llama"], FAMILY["gpt2"]
STEPS = 9
CLOSE = dict(atol=2e-4, rtol=1e-5)

Ids = list[list[int]]
Make = Callable[[PreTrainedModel, Ids], Any]
"""A decoder for a model and its prompts."""


def other_prompts(model: PreTrainedModel, given_prompts: Ids) -> dict[str, Tensor]:
    """Other prompts, of other lengths and padded on the left."""
    ids, mask = prompts(model, [5 + 2 * row for row, _ in enumerate(given_prompts)])
    return {"input_ids": ids, "attention_mask": mask}


DECODERS: dict[str, Make] = {
    "model": lambda model, _: [],
    "penalties": lambda model, _: [RepetitionPenaltyLogitsProcessor(1.3), NoRepeatNGramLogitsProcessor(2)],
    "nucleus": lambda model, _: [TopPLogitsWarper(0.8)],
    "contrastive_decoding": lambda model, _: [ContrastiveDecodingLogitsProcessor(GPT2.build())],
    "extrapolation": lambda model, _: [
        ContrastiveDecodingLogitsProcessor(GPT2.build(), alpha=0.0, form=partial(extrapolation, beta=0.5))
    ],
    "context_aware": lambda model, ids: [ContextAwareLogitsProcessor(model, other_prompts(model, ids))],
    "pooled": lambda model, ids: [
        ContrastiveDecodingLogitsProcessor(
            PooledAmateur([ModelAmateur(GPT2.build()), PromptAmateur(model, other_prompts(model, ids))]),
            positives=[ModelAmateur(FAMILY["gpt2_tied"].build())],
        )
    ],
    "dola": lambda model, _: [DoLaLogitsProcessor(model, layers=[0, 1, 2]), RepetitionPenaltyLogitsProcessor(1.2)],
    "layer_fusion": lambda model, ids: [
        LayerFusionLogitsProcessor(
            model,
            GPT2.build(),
            layers=[1, 2],
            guide=PromptAmateur(model, other_prompts(model, ids)),
            refocus_weight=0.5,
        )
    ],
}


def generated(model: PreTrainedModel, ids: list[int], decoder: Any) -> tuple[list[int], Tensor]:
    """A greedy text, and the log-softmax of the scores at each of its steps ``[steps, vocabulary]``."""
    output = model.generate(
        torch.tensor([ids]),
        logits_processor=decoder,
        max_new_tokens=STEPS,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    return output.sequences[0, -STEPS:].tolist(), torch.cat(output.scores).float().log_softmax(dim=-1)


def l6_scoring_gives_what_generation_used(model: PreTrainedModel, make: Make) -> None:
    """Texts that ``generate`` wrote, one prompt at a time, get its log-probabilities; other texts beside them change nothing."""
    padded_ids, mask = prompts(model, (11, 7, 12))
    rows: Ids = [ids[kept.bool()].tolist() for ids, kept in zip(padded_ids, mask, strict=True)]
    expected, given_texts = [], []
    for index, row in enumerate(rows):
        alone = make(model, rows)
        if any(isinstance(each, ContextAwareLogitsProcessor) or "Prompt" in repr(vars(each)) for each in alone):
            alone = make(model, rows)
        tokens, log_probabilities = generated(model, row, one_row(alone, index))
        given_texts.append([tokens, [*tokens[:4], (tokens[4] + 1) % 90 + 4, 7], [9]])
        expected.append(log_probabilities.gather(1, torch.tensor(tokens)[:, None])[:, 0])
    found = score(model, None, rows, given_texts, make(model, rows))
    for scores, log_probabilities, texts in zip(found, expected, given_texts, strict=True):
        assert [list(each.tokens) for each in scores] == texts
        torch.testing.assert_close(torch.tensor(scores[0].log_probabilities), log_probabilities, **CLOSE)
        torch.testing.assert_close(scores[1].log_probabilities[:4], scores[0].log_probabilities[:4], **CLOSE)
        assert scores[0].renormalised
