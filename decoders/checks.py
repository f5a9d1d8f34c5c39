"""Errors for input that a decoding loop cannot use, raised before any token is generated."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, GenerationConfig, PreTrainedModel

from counterpoint.decoders.hf.caches import (
    CACHE,
    cached_length,
    find_cache,
    holds_uncounted_text,
    is_filled,
    is_own_kind,
    is_quantised,
)
from counterpoint.decoders.hf.devices import ids_device

PROCESSOR = "ContrastiveSearchLogitsProcessor in logits_processor=[...]"


def check_rule(penalty_alpha: Any, top_k: Any, vocabulary: int) -> None:
    """``penalty_alpha`` is a number in [0, 1] and ``top_k`` an integer in [1, vocabulary]."""
    number = isinstance(penalty_alpha, int | float) and not isinstance(penalty_alpha, bool)
    if not number or not math.isfinite(penalty_alpha) or not 0 <= penalty_alpha <= 1:
        raise ValueError(f"penalty_alpha={penalty_alpha!r}: contrastive search needs a number in [0, 1], e.g. penalty_alpha=0.6")
    if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1:
        raise ValueError(f"top_k={top_k!r}: contrastive search needs at least one candidate, e.g. top_k=5")
    if top_k > vocabulary:
        raise ValueError(f"top_k={top_k} is more than the vocabulary's {vocabulary} tokens; use a top_k between 3 and 10")


def check_mode(
    config: GenerationConfig,
    assistant_model: PreTrainedModel | None,
    method: str = "contrastive search",
    processor: str = PROCESSOR,
) -> None:
    """No mode of ``generate`` is asked for that ``method`` would have to ignore and that ``processor`` may do."""
    if config.num_beams > 1:
        raise ValueError(f"num_beams={config.num_beams}: {method} keeps one text a row; with beams use {processor}")
    if assistant_model is not None:
        raise ValueError(f"assistant_model={type(assistant_model).__name__}: for assisted decoding use {processor}")
    for name in ("prompt_lookup_num_tokens", "use_mtp"):
        if getattr(config, name, None):
            raise ValueError(f"{name}={getattr(config, name)!r}: for assisted decoding use {processor}")
    for name in ("dola_layers", "constraints", "force_words_ids"):
        if getattr(config, name, None) is not None:
            raise ValueError(f"{name}={getattr(config, name)!r} is another decoding method than {method}; leave one out")


def check_prompt(model: PreTrainedModel, input_ids: Int[Tensor, "rows length"], model_kwargs: dict[str, Any]) -> None:
    """Every row has a token, padding is on the left, and the tokens lie where the model does."""
    device = ids_device(model)
    if "hf_device_map" not in vars(model) and input_ids.device != device:
        raise ValueError(f"input_ids are on {input_ids.device}, the model on {device}: move them with .to(model.device)")
    if input_ids.shape[1] == 0 and model_kwargs.get("inputs_embeds") is None:
        raise ValueError("input_ids are empty: a prompt of at least one token is needed, e.g. the BOS token")
    mask = model_kwargs.get("attention_mask")
    if mask is None or model.config.is_encoder_decoder:
        return
    empty = (mask.sum(dim=-1) == 0).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"attention_mask: rows {empty} are all padding; leave them out or give them a BOS token")
    right = (mask[:, -1] == 0).nonzero().flatten().tolist()
    if right:
        raise ValueError(f"attention_mask: rows {right} end in padding; pad on the left (tokenizer.padding_side = 'left')")


def check_whole_text(model: PreTrainedModel, length: int, model_kwargs: dict[str, Any], reader: str) -> None:
    """Where a cache is given, the prompt is all that it holds and more, and so are its mask and its positions.

    Args:
        model: The model that continues.
        length: Tokens of the prompt.
        model_kwargs: The arguments of the model, the cache among them.
        reader: Who needs the whole text, with a verb, for the error: "rankers read".
    """
    cache = find_cache(model_kwargs)
    if holds_uncounted_text(cache):
        raise ValueError(
            f"{CACHE} holds recurrent states, which do not say of how many tokens; leave it out, and the text is read anew"
        )
    held = cached_length(cache)
    names = () if model.config.is_encoder_decoder else ("attention_mask", "position_ids")
    widths = {model_kwargs[name].shape[-1] for name in names if model_kwargs.get(name) is not None}
    if held and (length <= held or widths - {length}):
        raise ValueError(
            f"{CACHE} holds {held} positions and input_ids {length}: {reader} the whole text, so pass all of it as input_ids, "
            "what the cache holds included"
        )


def check_cache(model: PreTrainedModel, cache: object, use_cache: bool) -> None:
    """The cache that the prefill returned is one that can be expanded and taken back."""
    if not use_cache:
        return
    name = type(model).__name__
    if not isinstance(cache, Cache):
        raise ValueError(f"{name} keeps its state outside of {CACHE}, where rows cannot be chosen; pass use_cache=False")
    if is_own_kind(cache):
        raise ValueError(f"{name} keeps its state in a {type(cache).__name__}, whose rows cannot be chosen; pass use_cache=False")
    if is_quantised(cache):
        raise ValueError(f"{type(cache).__name__} cannot drop candidates again; leave out cache_implementation, or pass 'dynamic'")
    if not is_filled(cache):
        raise ValueError(f"{name} does not keep its state in {CACHE}, which is empty after the prompt; pass use_cache=False")


def all_finite(numbers: Float[Tensor, "rows"]) -> bool:
    """Whether none is infinite or NaN, for which a device is waited for once.

    Example:
        >>> import torch
        >>> all_finite(torch.tensor([1.0, 2.0])), all_finite(torch.tensor([1.0, -torch.inf]))
        (True, False)
    """
    return numbers.numel() == 0 or math.isfinite(numbers.abs().max())


def check_logits(logits: Float[Tensor, "rows vocabulary"]) -> None:
    """Logits are numbers or -inf, and at least one of a row's is finite."""
    best = logits.amax(dim=-1)  # NaN where any is, +inf where any is, -inf where all are
    if all_finite(best):
        return
    for name, wrong in ("NaN", best.isnan()), ("+inf", best == torch.inf):
        if bool(wrong.any()):
            rows = wrong.nonzero().flatten().tolist()
            raise ValueError(f"logits are {name} in rows {rows}: look at the model's weights and dtype, and at logits processors")
    banned = (best == -torch.inf).nonzero().flatten().tolist()
    raise ValueError(f"every token is banned in rows {banned}: look at logits processors")


def check_states(model: PreTrainedModel, states: Float[Tensor, "rows positions hidden"], length: int) -> None:
    """Every token of a text of ``length`` has a last hidden state that was unembedded, and nothing else has."""
    if states.shape[1] != length:
        raise ValueError(
            f"{type(model).__name__} unembeds {states.shape[1]} positions of a text of {length}, so that the hidden state of each "
            "token is out of reach, which contrastive search compares"
        )


def check_amateur(logits: Float[Tensor, "positions vocabulary"], name: str) -> None:
    """The logits that an amateur gives are numbers or -inf."""
    best = logits.amax(dim=-1)
    if not bool((best < torch.inf).all()):
        wrong = "NaN" if bool(best.isnan().any()) else "+inf"
        raise ValueError(f"{name} gives {wrong} as a logit: look at the amateur's weights and dtype")
