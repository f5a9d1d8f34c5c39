"""The best of several proposals: samples or beams of a model, of which a ranker chooses one."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteriaList

from counterpoint.decoders.hf.generate_call import GenerateCall, current_generate_call
from counterpoint.decoders.hf.steps import beam_loop
from counterpoint.rankers.base import Ranker
from counterpoint.rankers.continuation_texts import GeneratedText, end_of, prompt_texts, unpadded
from counterpoint.rankers.search.beams import Candidate, best_first
from counterpoint.rankers.search.checks import check_settings
from counterpoint.rankers.search.ranked_search import RankedSearchOutput, Stream, ranked_search


def best_of(
    model: PreTrainedModel,
    input_ids: Int[Tensor, "rows length"],
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    ranker: Ranker | None = None,
    processing_class: PreTrainedTokenizerBase | None = None,
    candidates: int = 20,
    prefixes: Sequence[str] | None = None,
    **model_kwargs: Any,
) -> RankedSearchOutput | Tensor:
    """Over-generate and rerank: ``custom_generate=best_of, ranker=ranker, processing_class=tokenizer``.

    ``candidates`` continuations of each prompt are sampled, or its beams are searched where ``num_beams`` is given, and the one
    with the largest s(prompt, continuation) is kept: Krishna et al., *RankGen: Improving Text Generation with Large Ranking Models*
    (2022, arXiv 2205.09726), table 3, who sample 20. The model's own probability takes no part in the choice.

    ``generate`` calls this function; the arguments below are given to ``generate``.

    Args:
        model: Any model with ``generate``.
        input_ids: Prompts, padded on the left.
        logits_processor: As in sampling or beam search.
        stopping_criteria: As in sampling or beam search.
        generation_config: ``do_sample=True`` with its settings, or ``num_beams`` and ``num_return_sequences``, both as many as
            there are candidates.
        ranker: Scores continuations.
        processing_class: The model's tokenizer, since rankers read text.
        candidates: How many samples are drawn; 20 in the paper. Beams are all candidates, however many.
        prefixes: One text for each prompt, if the ranker shall read another than the prompt without special tokens.
        **model_kwargs: The rest of what ``generate`` prepared.

    Returns:
        Ids ``[prompts, length + new]``; with ``return_dict_in_generate=True`` a
        :class:`~counterpoint.rankers.RankedSearchOutput` whose tree has one round with all candidates.

    Raises:
        ValueError: As :func:`~counterpoint.rankers.ranked_search` does.

    Example:
        >>> from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
        >>> from counterpoint.rankers import SMALL, OverlapRanker, best_of
        >>> tokenizer = AutoTokenizer.from_pretrained(SMALL)
        >>> sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
        >>> ends = dict(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes, **ends))  # in its place any language model
        >>> search = dict(custom_generate=best_of, ranker=OverlapRanker(), processing_class=tokenizer)
        >>> inputs = tokenizer("The whale rose", return_tensors="pt")
        >>> ids = model.generate(**inputs, **search, num_beams=4, num_return_sequences=4, do_sample=False, max_new_tokens=10)
        >>> len(ids)
        1
    """
    if generation_config.num_beams == 1:
        return ranked_search(
            model,
            input_ids,
            logits_processor,
            stopping_criteria,
            generation_config,
            ranker=ranker,
            processing_class=processing_class,
            beams=1,
            candidates=candidates,
            tokens_per_round=None,
            prefixes=prefixes,
            **model_kwargs,
        )
    config, call = copy(generation_config), current_generate_call() or GenerateCall()
    whole, config.return_dict_in_generate = config.return_dict_in_generate, False
    each = config.num_return_sequences or 1
    ranker, tokenizer = check_settings(ranker, processing_class, 1, 1, None, "", GenerationConfig())
    if model.config.is_encoder_decoder:
        raise ValueError(
            "best_of ranks beams of decoder-only models; pass what generate(num_return_sequences=...) gives to rerank()"
        )
    if call.streamer is not None and len(input_ids) > config.num_beams:
        raise ValueError("streamer: one text at a time can be streamed; pass one prompt")
    prompts = input_ids[:: config.num_beams]
    mask = model_kwargs.get("attention_mask")
    mask = None if mask is None else mask[:: config.num_beams]
    texts = prompt_texts(tokenizer, prompts, mask) if prefixes is None else prefixes
    model_kwargs.pop("inputs_tensor", None)
    found: Any = beam_loop(model, input_ids, logits_processor, stopping_criteria, config, **model_kwargs)
    rows = found[:, input_ids.shape[1] :].tolist()
    new = [
        [tuple(row[: end_of(row, config.eos_token_id)]) for row in rows[first : first + each]]
        for first in range(0, len(rows), each)
    ]
    pools = [
        [Candidate(tokens, GeneratedText(tokenizer, prompt, tokens), True) for tokens in own]
        for prompt, own in zip(unpadded(prompts, mask), new, strict=True)
    ]
    ranked = best_first(ranker.scorer(texts), pools)
    best: Tensor = found[[index * each + new[index].index(pool[0].tokens) for index, pool in enumerate(ranked)]]
    if call.streamer is not None:
        Stream(call.streamer).end([ranked[0][0]])
    if not whole:
        return best
    scores = torch.tensor([pool[0].score for pool in ranked])
    return RankedSearchOutput(best, scores, [[pool] for pool in ranked])
