"""Whether a model can take k candidates as one tree-masked sequence, and the way its candidates are therefore computed.

Two checks, both needed before the tree is chosen unasked: the architecture is one of those on which the tests compare the tree
with separate rows, and this very model, on a short padded text, gives the same hidden states both ways.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, EncoderDecoderCache, PreTrainedModel

from counterpoint.decoders.forwards.candidates import CandidateForward, ExpandedForward, TreeForward
from counterpoint.decoders.hf.attention import attention_name
from counterpoint.decoders.hf.caches import CACHE, is_offloaded, sliding_windows, unusual_layers
from counterpoint.decoders.hf.steps import after_forward

Method = Literal["auto", "tree", "expand"]

TREE_FAMILIES = frozenset(
    "gpt2 llama mistral mixtral qwen2 qwen3 qwen3_moe gemma gemma2 gemma3_text opt gpt_neox phi phi3 falcon stablelm olmo2 cohere "
    "granite starcoder2 gpt_bigcode biogpt smollm3 deepseek_v3 gpt_oss gptj codegen xglm".split()
)
"""``config.model_type`` of the architectures on which the tests hold the tree against separate rows."""

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 1e-1}
"""Largest relative difference of hidden states that rounding explains, by dtype."""

_measured: WeakKeyDictionary[PreTrainedModel, dict[tuple[str | None, torch.dtype], float]] = WeakKeyDictionary()


def candidate_method(model: PreTrainedModel) -> tuple[Method, str]:
    """How contrastive search computes candidates on ``model`` by default, and why.

    Gives ``("tree", reason)``, one sequence per row and one slot of the cache kept, or ``("expand", reason)``, k rows with
    ``reorder_cache`` as expand and select. ``generate(custom_generate=contrastive_search, candidates="tree")`` asks for the tree
    by name: it is refused with a ``ValueError`` if this model does not give the same hidden states that way.

    Example:
        >>> from transformers import AutoModelForCausalLM
        >>> from counterpoint.decoders import candidate_method
        >>> from counterpoint.eval import AMATEUR
        >>> candidate_method(AutoModelForCausalLM.from_pretrained(AMATEUR))[0]
        'tree'
    """
    obstacle = family_obstacle(model)
    if obstacle is None and tree_error(model) > TOLERANCE[model.dtype]:
        obstacle = f"the tree gave hidden states {tree_error(model):.1e} away from those of separate rows"
    return ("expand", obstacle) if obstacle else ("tree", f"tested for {model.config.model_type} and equal on this model")


def family_obstacle(model: PreTrainedModel) -> str | None:
    """Why the architecture is not one whose candidates are known to fit in a tree, or None."""
    config = model.config
    if config.is_encoder_decoder:
        return "encoder-decoder models take no tree mask over decoder positions"
    if config.model_type not in TREE_FAMILIES:
        return f"the tree is not tested for {config.model_type}"
    if config.model_type == "falcon" and config.alibi:
        return "falcon's alibi biases count slots, not positions"
    if attention_name(config) not in ("sdpa", "eager"):
        return f"{attention_name(config)} takes no additive mask"
    return None


def cache_obstacle(cache: Cache | None, length: int) -> str | None:
    """Why the tree cannot use this ``cache`` of a text of ``length`` positions, or None."""
    if cache is None:
        return "there is no cache"
    if isinstance(cache, EncoderDecoderCache) or is_offloaded(cache):
        return f"{type(cache).__name__} cannot keep one of several slots"
    if unusual := unusual_layers(cache):
        return f"a cache of {unusual} cannot keep one of several slots"
    if len(sliding_windows(cache) - {None}) > 1:
        return "the layers' sliding windows differ"
    if cache.get_seq_length() != length:
        return f"the cache holds {cache.get_seq_length()} positions of {length}"
    return None


def candidate_forward(
    method: Method, model: PreTrainedModel, cache: Cache | None, length: int, rows: int, model_kwargs: dict[str, Any]
) -> CandidateForward:
    """The forward for candidates that follow ``length`` positions held by ``cache``, by the named method or the best one.

    ``model_kwargs`` are those of ``generate`` after the prefill. Raises ``ValueError`` where ``method="tree"`` cannot be right.
    """
    if method == "auto" or method == "tree":
        known = {"attention_mask", "position_ids", CACHE, "use_cache", *OPTIONS}
        extra = sorted(name for name, value in model_kwargs.items() if name not in known and value is not None)
        obstacle = f"{', '.join(extra)} cannot be spread over candidates" if extra else cache_obstacle(cache, length)
        if obstacle is None and model_kwargs.get("position_ids") is None:
            obstacle = f"{type(model).__name__} takes no position_ids"
        if obstacle is None and method == "auto":
            chosen, reason = candidate_method(model)
            obstacle = reason if chosen == "expand" else None
        elif obstacle is None and not tree_error(model) <= TOLERANCE[model.dtype]:
            obstacle = f"its hidden states differ by {tree_error(model):.1e} from those of separate rows"
        if obstacle is None and cache is not None:
            return tree_forward(model, cache, model_kwargs)
        if method == "tree":
            raise ValueError(f"candidates='tree' is not possible here: {obstacle}; use candidates='auto' or 'expand'")
    return ExpandedForward(model, cache, model_kwargs, rows)


OPTIONS = ("logits_to_keep", "output_hidden_states", "output_attentions")


def tree_forward(model: PreTrainedModel, cache: Cache, model_kwargs: dict[str, Any]) -> TreeForward:
    """The tree over ``cache``, from the ``model_kwargs`` that ``generate`` keeps after the prefill."""
    mask = model_kwargs.get("attention_mask")
    seen = None if mask is None else mask[:, : cache.get_seq_length()].bool()
    options = {name: model_kwargs[name] for name in OPTIONS if name in model_kwargs}
    if "logits_to_keep" in options:
        options["logits_to_keep"] = 0  # all candidates reach the unembedding, which is then narrowed to the chosen one
    return TreeForward(model, cache, model_kwargs["position_ids"][:, -1], seen, options)


@torch.no_grad()
def tree_error(model: PreTrainedModel) -> float:
    """Relative difference of last hidden states between tree and separate rows, over two steps after a left-padded prompt.

    Measured once per model, attention implementation and dtype. Infinite where the model refuses the tree's mask.
    """
    errors = _measured.setdefault(model, {})
    setting = (attention_name(model.config), model.dtype)
    if setting not in errors:
        rows = _trial(model, "expand")
        try:
            tree = _trial(model, "tree")
            errors[setting] = max(_difference(one, other) for one, other in zip(rows, tree, strict=True))
        except (ValueError, RuntimeError, TypeError, IndexError) as error:
            warnings.warn(f"{type(model).__name__} refuses a tree of candidates: {error}", stacklevel=2)
            errors[setting] = float("inf")
    return errors[setting]


def _difference(one: Tensor, other: Tensor) -> float:
    difference = float((one - other).norm() / one.norm())
    return difference if difference == difference else float("inf")


def _trial(model: Any, method: Method) -> list[Tensor]:
    """Last hidden states of the candidates in two steps on a fixed text, one row of it padded."""
    device = model.get_input_embeddings().weight.device
    ids = torch.arange(14, device=device).reshape(2, 7) % model.config.vocab_size
    mask = torch.ones_like(ids)
    mask[1, :2] = 0
    position_ids = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    output = model(input_ids=ids, attention_mask=mask, position_ids=position_ids, use_cache=True, **{CACHE: cache})
    kwargs = {"attention_mask": mask, "position_ids": position_ids, CACHE: cache, "use_cache": True}
    kwargs = after_forward(model, output, kwargs)
    forward: CandidateForward
    forward = tree_forward(model, cache, kwargs) if method == "tree" else ExpandedForward(model, cache, kwargs, 2)
    seen: list[Tensor] = []

    def choose(hidden: Tensor) -> Tensor:
        seen.append(hidden.float())
        return torch.tensor([2, 1], device=device)

    for step in (1, 2):
        candidates = (ids[:, :3] + step) % model.config.vocab_size
        chosen, _ = forward(ids, candidates, choose)
        ids = torch.cat([ids, candidates.gather(1, chosen[:, None])], dim=1)
    return seen
