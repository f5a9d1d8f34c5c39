"""The attention that a model's layers call by a name in its configuration, and transformers' own with ``sdpa``."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

Attention = Callable[..., tuple[Tensor, Tensor | None]]
"""``attention(module, query, key, value, attention_mask, dropout, scaling, **kwargs)`` gives attended values and weights."""

sdpa: Attention = sdpa_attention_forward

_instead_of: dict[str, str] = {}
"""The name of the attention that each registered one computes."""


def attention_name(config: PreTrainedConfig) -> str | None:
    """The name of the attention that the layers of models of this ``config`` call; one that computes the same stands for it."""
    name: str | None = config._attn_implementation
    return name if name is None else _instead_of.get(name, name)


def set_attention(config: PreTrainedConfig, name: str) -> None:
    """Let the layers of models of this ``config`` call the attention of that name."""
    config._attn_implementation = name


def register_attention(name: str, attention: Attention) -> None:
    """Make ``attention``, which computes what ``sdpa`` does from the masks that it takes, known by ``name``."""
    _instead_of[name] = "sdpa"
    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, sdpa_mask)
