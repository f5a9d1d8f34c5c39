"""The steps of ``generate``, for loops that do something else in between; in transformers they are private methods."""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from counterpoint.decoders.hf.outputs import GenerateDecoderOnlyOutput, GenerateEncoderDecoderOutput, ModelOutput

GenerativeModel = Any
"""A ``PreTrainedModel``; transformers leaves the methods that generation adds to it untyped."""


def prefill(
    model: GenerativeModel, input_ids: Int[Tensor, "rows length"], config: GenerationConfig, model_kwargs: dict[str, Any]
) -> ModelOutput:
    """The forward of the prompt, or of what a given cache does not hold of it; in chunks if ``config`` says so."""
    output: ModelOutput = model._prefill(input_ids, config, model_kwargs)
    return output


def first_inputs(
    model: GenerativeModel, input_ids: Int[Tensor, "rows length"], new: int | None, model_kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The model's inputs for the last ``new`` positions of the prompt (all if None), with logits of every one."""
    inputs: dict[str, Any] = model.prepare_inputs_for_generation(
        input_ids, next_sequence_length=new, is_first_iteration=True, **model_kwargs
    )
    return inputs | {"logits_to_keep": 0} if "logits_to_keep" in inputs else inputs


def next_inputs(
    model: GenerativeModel, input_ids: Int[Tensor, "rows length"], cached: bool, model_kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The model's inputs for the token after the ``cached`` ones; without a cache those for the whole text."""
    inputs: dict[str, Any] = model.prepare_inputs_for_generation(
        input_ids, next_sequence_length=1 if cached else None, **model_kwargs
    )
    return inputs


def after_forward(model: GenerativeModel, output: ModelOutput, model_kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the next forward: the cache, and a mask and positions that have one more token."""
    kwargs: dict[str, Any] = model._update_model_kwargs_for_generation(
        output, dict(model_kwargs), is_encoder_decoder=model.config.is_encoder_decoder
    )
    return kwargs


def repeated(
    model: GenerativeModel, times: int, input_ids: Int[Tensor, "rows length"], model_kwargs: dict[str, Any]
) -> tuple[Int[Tensor, "repeated_rows length"], dict[str, Any]]:
    """The ids and the arguments with each row repeated ``times`` times, side by side; caches stay as they are."""
    kwargs = dict(model_kwargs)
    if model.config.is_encoder_decoder:
        kwargs["encoder_outputs"] = copy(kwargs["encoder_outputs"])  # expanded in place below, as pictures are
    if kwargs.get("mm_encoder_outputs"):
        kwargs["mm_encoder_outputs"] = {name: copy(output) for name, output in kwargs["mm_encoder_outputs"].items()}
    expanded: tuple[Tensor, dict[str, Any]] = model._expand_inputs_for_generation(
        expand_size=times, is_encoder_decoder=model.config.is_encoder_decoder, input_ids=input_ids, **kwargs
    )
    return expanded


def goes_on(model: GenerativeModel, finished: bool, synced_gpus: bool, device: torch.device) -> bool:
    """Whether this process, or with ``synced_gpus`` another one, has texts that have not ended."""
    return bool(model._has_unfinished_sequences(finished, synced_gpus, device=device))


def plain_loop(
    model: GenerativeModel,
    input_ids: Int[Tensor, "rows length"],
    processors: LogitsProcessorList,
    criteria: StoppingCriteriaList,
    config: GenerationConfig,
    **model_kwargs: Any,
) -> GenerateDecoderOnlyOutput | GenerateEncoderDecoderOutput | Tensor:
    """Greedy search or sampling, as ``generate`` itself does it."""
    output: GenerateDecoderOnlyOutput | GenerateEncoderDecoderOutput | Tensor = model._sample(
        input_ids, logits_processor=processors, stopping_criteria=criteria, generation_config=config, **model_kwargs
    )
    return output


def beam_loop(
    model: GenerativeModel,
    input_ids: Int[Tensor, "rows length"],
    processors: LogitsProcessorList,
    criteria: StoppingCriteriaList,
    config: GenerationConfig,
    **model_kwargs: Any,
) -> Any:
    """Beam search as ``generate`` itself does it, on rows that it has expanded to ``num_beams`` for each prompt."""
    return model._beam_search(
        input_ids, logits_processor=processors, stopping_criteria=criteria, generation_config=config, **model_kwargs
    )


def padding_token(config: GenerationConfig) -> Int[Tensor, ""] | None:
    """The token with which ``generate`` fills up finished rows; None if there is none."""
    token: Tensor | None = config._pad_token_tensor
    return token
