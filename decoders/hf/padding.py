"""Which tokens of a batch are text and which are padding, where only the ids are at hand."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedModel

from counterpoint.decoders.hf.generate_call import GenerateCall, current_generate_call, origins_of


def seen_tokens(
    model: PreTrainedModel | None, input_ids: Int[Tensor, "rows length"], attention_mask: Int[Tensor, "prompts width"] | None
) -> Bool[Tensor, "rows length"]:
    """True for text and False for left padding, by ``attention_mask`` if given, else by the mask of the ``generate`` in progress.

    In other loops the run of ``pad_token_id`` that begins a row is padding; without a model all tokens are text. Raises
    ``ValueError`` where that run may as well be a BOS or EOS token, and where ``generate`` was given the last ids of a text alone.
    """
    seen = torch.ones_like(input_ids, dtype=torch.bool)
    if attention_mask is None:
        call = current_generate_call()
        if call is None:
            return seen if model is None else _leading_padding(model, input_ids)
        check_whole(call)
        if call.attention_mask is None:
            return seen
        attention_mask = call.attention_mask
    prompts, width = attention_mask.shape
    origins = origins_of(len(input_ids), prompts)
    if origins is None:
        raise ValueError(f"attention_mask has {prompts} rows, the batch {len(input_ids)}: give one for every prompt")
    seen[:, :width] = attention_mask.to(input_ids.device).bool()[origins.to(input_ids.device), : input_ids.shape[1]]
    return seen


def check_whole(call: GenerateCall) -> None:
    """The ids that ``generate`` began with are the whole text.

    Raises:
        ValueError: If a cache holds a beginning that they lack, which the mask tells.
    """
    width = 0 if call.input_ids is None else call.input_ids.shape[1]
    if 0 < width < call.mask_width:
        raise ValueError(
            f"attention_mask has {call.mask_width} columns, input_ids {width}: the cache holds a beginning that input_ids lack, "
            "and this decoder reads the whole text; pass all of it as input_ids"
        )


def _leading_padding(model: PreTrainedModel, input_ids: Tensor) -> Tensor:
    config = model.generation_config
    if config is None or config.pad_token_id is None:
        return torch.ones_like(input_ids, dtype=torch.bool)
    seen: Tensor = (input_ids != config.pad_token_id).cumsum(dim=-1) > 0
    eos = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    if config.pad_token_id in (config.bos_token_id, *eos) and not bool(seen[:, 0].all()):
        raise ValueError(
            f"pad_token_id={config.pad_token_id} is also the BOS or EOS token and begins a row: whether that is padding cannot be "
            "told outside of generate(); pass attention_mask= to the logits processor"
        )
    return seen
