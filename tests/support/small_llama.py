"""A Llama as wide as quantisers and tensor parallelism need it, and the sweep of every method over what is made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from every_family import WORDS
from family_sweep import METHODS, Outcome, Subject, inconsistency, judge


def small_llama(seed: int) -> LlamaForCausalLM:
    """Four layers of width 64, whose logits have a spread of 2."""
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).eval().requires_grad_(False)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.25)
    return model


def outcomes(tested: Callable[[LlamaForCausalLM], Any], reference: Callable[[LlamaForCausalLM], Any]) -> dict[str, Outcome]:
    """How every method fares on ``tested`` models, whose texts are read anew, whole and without a cache, by ``reference`` ones."""
    subject = Subject("llama:LlamaForCausalLM")
    subject.model, subject.own.model = tested(small_llama(0)), reference(small_llama(0))
    subject.rival, subject.other.model = tested(small_llama(1)), reference(small_llama(1))
    unlike = inconsistency(subject)
    return {"greedy": Outcome("inconsistent" if unlike else "right", unlike)} | {name: judge(subject, name, "") for name in METHODS}
