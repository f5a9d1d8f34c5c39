"""Whether a scored text is what greedy decoding writes, under each kind of decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from transformers import LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase, RepetitionPenaltyLogitsProcessor

from counterpoint.decoders import ContrastiveDecodingLogitsProcessor, DoLaLogitsProcessor, score

PROMPTS = ["The captain of the", "She looked out"]
DECODERS: dict[str, Callable[[Any, Any], list[LogitsProcessor]]] = {
    "plain": lambda expert, amateur: [],
    "contrastive decoding": lambda expert, amateur: [ContrastiveDecodingLogitsProcessor(amateur)],
    "dola": lambda expert, amateur: [DoLaLogitsProcessor(expert)],
    "any logits processor": lambda expert, amateur: [RepetitionPenaltyLogitsProcessor(1.5)],  # type: ignore[no-untyped-call]
}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("renormalise", [True, False])
def test_greedy_texts_are_known(
    expert: PreTrainedModel, amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str, renormalise: bool
) -> None:
    decoder = DECODERS[name](expert, amateur)
    prompts, given = [], []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        output: Any = expert.generate(  # type: ignore[operator]
            ids, do_sample=False, max_new_tokens=6, logits_processor=decoder, pad_token_id=0
        )
        written = output[0, ids.shape[1] :].tolist()
        prompts.append(ids[0].tolist())
        given.append([written, written[:3], [*written[:5], written[5] + 1], [written[0] + 1, *written[1:]]])
    scores = score(expert, None, prompts, given, decoder, renormalise=renormalise)
    assert [[each.greedy for each in texts] for texts in scores] == [[True, True, False, False]] * 2
