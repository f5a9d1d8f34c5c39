"""Tiny random reward models of several families, and a tokenizer with a chat template that closes every message."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    PreTrainedModel,
    Qwen3Config,
)

from counterpoint.eval import AMATEUR

TEMPLATE = (
    "{{ bos_token }}{% for each in messages %}{{ each.role }}: {{ each.content | trim }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
SIZES = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)
CONTEXT = 512


def chat_tokenizer() -> Any:
    """The embedded amateur's, with a template; its end of text closes every message."""
    tokenizer = AutoTokenizer.from_pretrained(AMATEUR)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def configs() -> dict[str, Any]:
    """A configuration for each family."""
    tokenizer = chat_tokenizer()
    given: dict[str, Any] = dict(
        vocab_size=len(tokenizer),
        num_labels=1,
        max_position_embeddings=CONTEXT,
        pad_token_id=tokenizer.eos_token_id,  # as in many checkpoints: the id that closes every message
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    ids = {name: value for name, value in given.items() if name.endswith("_token_id")}
    return {
        "llama": LlamaConfig(**SIZES, **given),
        "qwen3": Qwen3Config(**SIZES, head_dim=8, **given),
        "gemma2": Gemma2Config(**SIZES, head_dim=8, **given),
        "gpt2": GPT2Config(vocab_size=len(tokenizer), num_labels=1, n_positions=CONTEXT, n_embd=16, n_layer=2, n_head=2, **ids),
    }


@cache
def reward_model(family: str = "llama", labels: int = 1) -> PreTrainedModel:
    """A reward model with large random weights."""
    config = configs()[family]
    config.num_labels = labels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.data.normal_(std=0.4)
    return model.eval()


@cache
def token_classifier() -> PreTrainedModel:
    """A model with two labels for each token."""
    config = configs()["llama"]
    config.num_labels = 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        model: PreTrainedModel = AutoModelForTokenClassification.from_config(config, dtype=torch.float32)
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.data.normal_(std=0.4)
    return model.eval()
