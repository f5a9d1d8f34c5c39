"""Errors for what a ranked search cannot do, raised before any token is generated."""

from __future__ import annotations

from typing import Any

from jaxtyping import Int
from torch import Tensor
from transformers import (
    EncoderNoRepeatNGramLogitsProcessor,
    EncoderRepetitionPenaltyLogitsProcessor,
    GenerationConfig,
    LogitsProcessorList,
    MaxLengthCriteria,
    MaxTimeCriteria,
    PrefixConstrainedLogitsProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
    SynthIDTextWatermarkLogitsProcessor,
    UnbatchedClassifierFreeGuidanceLogitsProcessor,
)

from counterpoint.decoders.hf.caches import CACHE_NAMES
from counterpoint.decoders.hf.generate_call import GenerateCall
from counterpoint.decoders.hf.steps import padding_token
from counterpoint.rankers.base import Ranker

ROW_BOUND = (
    EncoderNoRepeatNGramLogitsProcessor,
    EncoderRepetitionPenaltyLogitsProcessor,
    PrefixConstrainedLogitsProcessor,
    SynthIDTextWatermarkLogitsProcessor,
    UnbatchedClassifierFreeGuidanceLogitsProcessor,
)
"""Processors that keep something for each row of the batch and would apply it to other rows."""

TEXT = {
    "attention_mask",
    "decoder_attention_mask",
    "encoder_outputs",
    "inputs_embeds",
    "logits_to_keep",
    "position_ids",
    "token_type_ids",
    "use_cache",
    *CACHE_NAMES,
}
"""Arguments of a model that say nothing but the text."""

RERANK = "rerank() on what generate() returns"


def check_settings(
    ranker: Any,
    processing_class: Any,
    beams: Any,
    candidates: Any,
    tokens_per_round: Any,
    round_ends: Any,
    config: GenerationConfig,
) -> tuple[Ranker, PreTrainedTokenizerBase]:
    """The search's own arguments mean something, and go with those of sampling; gives the first two."""
    if not isinstance(ranker, Ranker):
        raise ValueError(f"ranker={ranker!r}: ranked search needs a counterpoint.rankers.Ranker; pass ranker=")
    if not isinstance(processing_class, PreTrainedTokenizerBase):
        raise ValueError(
            f"processing_class={processing_class!r}: rankers read text; pass processing_class=tokenizer, the model's own"
        )
    for name, value in (("beams", beams), ("candidates", candidates), ("tokens_per_round", tokens_per_round)):
        number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if not number and not (name == "tokens_per_round" and value is None):
            raise ValueError(f"{name}={value!r} is not a number of {name.split('_')[0]}; pass 1 or more")
    if not isinstance(round_ends, str):
        raise ValueError(
            f'round_ends={round_ends!r} is not a string at which rounds end; pass one such as "\\n\\n", or "" for none'
        )
    if ranker.whole_texts and (tokens_per_round is not None or round_ends):
        raise ValueError(
            f"ranker={ranker!r} judges whole texts, and rounds end before texts do; pass tokens_per_round=None without round_ends, "
            "or take best_of"
        )
    if beams * candidates > 1 and not config.do_sample:
        raise ValueError(
            f"do_sample=False proposes the same continuation {beams * candidates} times; pass do_sample=True, or beams=1, "
            "candidates=1"
        )
    if (config.num_return_sequences or 1) > beams:
        raise ValueError(f"num_return_sequences={config.num_return_sequences} is more than beams={beams}; keep as many beams")
    return ranker, processing_class


def check_mode(
    model: PreTrainedModel,
    config: GenerationConfig,
    call: GenerateCall,
    processors: LogitsProcessorList,
    criteria: StoppingCriteriaList,
    rows: int,
    model_kwargs: dict[str, Any],
) -> None:
    """No mode of ``generate`` is asked for that would be ignored."""
    if config.num_beams > 1:
        raise ValueError(
            f"num_beams={config.num_beams} are beams by probability; for those of a ranker pass beams={config.num_beams}"
        )
    if call.assistant_model is not None:
        raise ValueError(f"assistant_model={type(call.assistant_model).__name__}: with assisted decoding use {RERANK}")
    for name in ("prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp"):
        if getattr(config, name, None):
            raise ValueError(f"{name}={getattr(config, name)!r}: with assisted decoding use {RERANK}")
    for name, other in (
        ("penalty_alpha", "pass ContrastiveSearchLogitsProcessor in logits_processor=[...]"),
        ("dola_layers", "pass DoLaLogitsProcessor in logits_processor=[...]"),
        ("constraints", f"use {RERANK}"),
        ("force_words_ids", f"use {RERANK}"),
    ):
        if getattr(config, name, None) is not None:
            raise ValueError(f"{name}={getattr(config, name)!r} is another decoding method than ranked search; {other}")
    for name in ("output_scores", "output_logits", "output_hidden_states", "output_attentions"):
        if getattr(config, name):
            raise ValueError(f"{name}=True: ranked search gives the ranker's scores only; for the model's use decoders.score()")
    for processor in processors:
        if isinstance(processor, ROW_BOUND):
            raise ValueError(
                f"{type(processor).__name__} belongs to fixed rows of a batch, and here rows come and go; use {RERANK}, or for "
                "guidance_scale ContextAwareLogitsProcessor"
            )
    if call.synced_gpus:
        raise ValueError("synced_gpus=True: ranked search runs another number of forwards in each process; leave it out")
    if call.streamer is not None and rows > 1:
        raise ValueError(f"streamer: one text at a time can be streamed, not {rows}; pass one prompt and num_return_sequences=1")
    if padding_token(config) is None and not all(isinstance(each, MaxLengthCriteria | MaxTimeCriteria) for each in criteria):
        raise ValueError("pad_token_id=None, and texts may end at different lengths; pass pad_token_id=")
    others = sorted(name for name, value in model_kwargs.items() if name not in TEXT and value is not None)
    if others:
        raise ValueError(f"{', '.join(others)}: ranked search knows texts only; use {RERANK}")


def check_prompt_texts(prompts: Int[Tensor, "prompts length"]) -> None:
    """The prompts are ids, so that they can be read as texts."""
    if prompts.shape[1] == 0:
        raise ValueError("prefixes=None, and the prompts are inputs_embeds, which no ranker reads; pass their texts as prefixes=")


def check_prefixes(prefixes: Any, prompts: int) -> None:
    """Check that there is one prefix for each prompt."""
    if isinstance(prefixes, str) or len(prefixes) != prompts:
        raise ValueError(f"prefixes={prefixes!r}: pass a list of {prompts}, one text for each prompt")
