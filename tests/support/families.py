"""Tiny random models of the architectures that transformers has, built in a fraction of a second.

``ALL`` lists them as :class:`Family` values; ``TREE``, ``EXPAND``, ``RECURRENT``, ``STATELESS`` and ``ENCODER_DECODER`` split
them by how the candidates of a step can be computed.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

Kind = Literal["tree", "expand", "recurrent", "stateless_cache", "encoder_decoder"]

VOCABULARY, POSITIONS, WINDOW = 96, 256, 8
PAD, BOS, EOS, FIRST_WORD = 0, 1, 2, 4
GAIN, SPREAD = 1.3, 2.5
"""Standard deviation of the logits over the vocabulary, so that rounding decides no rank among the best tokens."""


@dataclass(frozen=True)
class Family:
    """An architecture at toy size: ``kind`` says how candidates can be computed, ``attentions`` what the class supports.

    "tree": k candidates fit in one masked sequence. "expand": they need k rows, since positions count slots or the local mask
    is built in or chunked. "recurrent": a state that only ``reorder_cache`` can copy. "stateless_cache": the state is out of
    reach, so each step starts over. ``padded`` is False where transformers itself gives a left-padded row other logits than
    the row alone. ``seed`` is one whose greedy texts are not one token repeated.
    """

    name: str
    model_type: str
    kind: Kind
    config: Mapping[str, Any] = field(hash=False, repr=False)
    attentions: tuple[str, ...] = ("sdpa", "eager")
    padded: bool = True
    seed: int = 4

    def build(self, attn_implementation: str | None = None) -> PreTrainedModel:
        """The model, the same object at every call: leave its weights and settings as they are."""
        return _build(self, attn_implementation or self.attentions[0])

    def __str__(self) -> str:
        return self.name


@cache
def _build(family: Family, attn_implementation: str) -> PreTrainedModel:
    config = AutoConfig.for_model(family.model_type, **{**COMMON, **family.config})
    auto = AutoModelForSeq2SeqLM if family.kind == "encoder_decoder" else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(family.name.encode()) + family.seed)
        model: PreTrainedModel = auto.from_config(config, attn_implementation=attn_implementation, dtype=torch.float32)
        model.eval().requires_grad_(False)
        _roughen(model)
    return model


def _roughen(model: PreTrainedModel) -> None:
    """Give every layer a say, each bias and norm a value of its own, and the logits a spread of about ``SPREAD``."""
    for name, weight in model.named_parameters():
        if weight.ndim == 1:  # biases around 0, norm weights around 1 or, in gemma's fashion, 0
            weight.add_(torch.randn_like(weight), alpha=0.1)
        elif not any(part in name for part in KEPT):
            weight.normal_(std=GAIN * weight.shape[-1] ** -0.5)
    for module in model.modules():
        if isinstance(module, nn.Embedding):  # large beside the biases, or all texts would be continued alike
            module.weight.normal_()
    output = model.get_output_embeddings().weight
    ids, mask = prompts(model, [24, 24])
    for _ in range(3):  # more than once, since a tied weight is an input too and soft caps bend the logits
        inputs = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
        output.mul_(SPREAD / model(input_ids=ids, attention_mask=mask, **inputs).logits[:, 1:].std(dim=-1).mean())


def prompts(model: PreTrainedModel, lengths: Sequence[int], padding: Literal["left", "right"] = "left") -> tuple[Tensor, Tensor]:
    """Random ids without special tokens, one row per length and the same for every model, and their attention mask."""
    width = max(lengths)
    ids = torch.full((len(lengths), width), int(model.config.get_text_config(decoder=True).pad_token_id))
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(1000 * row + length)
        at = slice(width - length, width) if padding == "left" else slice(0, length)
        ids[row, at] = torch.randint(FIRST_WORD, VOCABULARY, (length,), generator=generator)
        mask[row, at] = 1
    return ids, mask


KEPT = ("A_log", "dt_proj", "time_mix")
"""Parts of names of the recurrences' own matrices, whose initial values make them stable."""

COMMON = dict(
    vocab_size=VOCABULARY,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    max_position_embeddings=POSITIONS,
    pad_token_id=PAD,
    bos_token_id=BOS,
    eos_token_id=EOS,
    tie_word_embeddings=False,
)
GLU = dict(num_key_value_heads=2, intermediate_size=64)
WIDE = dict(GLU, head_dim=16)
SLIDING = dict(sliding_window=WINDOW, layer_types=["sliding_attention", "full_attention", "sliding_attention"])
OPT = dict(ffn_dim=64, dropout=0.0)
EXPERTS = dict(num_experts_per_tok=2, moe_intermediate_size=32)
SEQ2SEQ = dict(
    d_model=32,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    encoder_ffn_dim=64,
    decoder_ffn_dim=64,
    decoder_start_token_id=BOS,
    forced_eos_token_id=None,
    tie_word_embeddings=True,
)
BOTH, EAGER = ("sdpa", "eager"), ("eager",)

ALL: list[Family] = [
    Family("gpt2", "gpt2", "tree", {}),
    Family("gpt2_tied", "gpt2", "tree", dict(tie_word_embeddings=True)),
    Family("llama", "llama", "tree", GLU),
    Family("mistral_sliding", "mistral", "tree", dict(GLU, sliding_window=WINDOW)),
    Family("mixtral", "mixtral", "tree", dict(GLU, num_local_experts=4, num_experts_per_tok=2)),
    Family("qwen2", "qwen2", "tree", GLU),
    Family("qwen2_sliding", "qwen2", "tree", dict(GLU, use_sliding_window=True, **SLIDING)),
    Family("qwen3", "qwen3", "tree", WIDE),
    Family("qwen3_moe", "qwen3_moe", "tree", dict(WIDE, num_experts=4, **EXPERTS)),
    Family("gemma", "gemma", "tree", WIDE),
    Family("gemma2_sliding", "gemma2", "tree", dict(WIDE, query_pre_attn_scalar=16, **SLIDING), EAGER),
    Family("gemma3_sliding", "gemma3_text", "tree", dict(WIDE, query_pre_attn_scalar=16, **SLIDING)),
    Family("opt", "opt", "tree", OPT),
    Family("opt_350m", "opt", "tree", dict(OPT, word_embed_proj_dim=16, do_layer_norm_before=False), seed=11),
    Family("gpt_neox", "gpt_neox", "tree", dict(intermediate_size=64)),
    Family("phi", "phi", "tree", dict(GLU, partial_rotary_factor=0.5)),
    Family("phi3", "phi3", "tree", GLU),
    Family("falcon_rotary", "falcon", "tree", dict(alibi=False)),
    Family("falcon_alibi", "falcon", "expand", dict(alibi=True)),
    Family("stablelm", "stablelm", "tree", GLU),
    Family("olmo2", "olmo2", "tree", GLU),
    Family("cohere", "cohere", "tree", GLU),
    Family("granite", "granite", "tree", dict(GLU, logits_scaling=4.0, residual_multiplier=0.5, embedding_multiplier=3.0)),
    Family("starcoder2", "starcoder2", "tree", GLU),
    Family("gpt_bigcode", "gpt_bigcode", "tree", dict(multi_query=True)),
    Family("biogpt", "biogpt", "tree", dict(intermediate_size=64)),
    Family("smollm3", "smollm3", "tree", GLU),
    Family(
        "deepseek_v3",
        "deepseek_v3",
        "tree",
        dict(
            **EXPERTS,
            intermediate_size=64,
            num_key_value_heads=4,
            q_lora_rank=16,
            kv_lora_rank=16,
            qk_rope_head_dim=8,
            qk_nope_head_dim=8,
            v_head_dim=8,
            first_k_dense_replace=1,
            n_routed_experts=4,
            n_group=2,
            topk_group=1,
        ),
    ),
    Family("gpt_oss_sliding", "gpt_oss", "tree", dict(WIDE, num_local_experts=4, num_experts_per_tok=2, **SLIDING), EAGER),
    Family("gptj", "gptj", "tree", dict(rotary_dim=4), EAGER),
    Family("codegen", "codegen", "tree", dict(rotary_dim=4), EAGER),
    Family("xglm", "xglm", "tree", dict(ffn_dim=64), EAGER),
    Family("bloom", "bloom", "expand", {}, EAGER),
    Family("mpt", "mpt", "expand", dict(max_seq_len=POSITIONS), EAGER),
    Family(
        "gpt_neo_local",
        "gpt_neo",
        "expand",
        dict(num_layers=3, attention_types=[[["global", "local", "global"], 1]], window_size=WINDOW),
        EAGER,
    ),
    Family(
        "llama4_chunked",
        "llama4_text",
        "expand",
        dict(
            **WIDE,
            intermediate_size_mlp=64,
            num_local_experts=4,
            interleave_moe_layer_step=2,
            attention_chunk_size=WINDOW,
            layer_types=["chunked_attention", "full_attention", "chunked_attention"],
        ),
    ),
    Family("mamba", "mamba", "recurrent", dict(state_size=8), EAGER),
    Family("mamba2", "mamba2", "recurrent", dict(state_size=8, num_heads=8, head_dim=8, n_groups=2, chunk_size=16), EAGER),
    Family(
        "jamba",
        "jamba",
        "recurrent",
        dict(
            **GLU,
            num_experts=4,
            use_mamba_kernels=False,
            mamba_d_state=8,
            mamba_dt_rank=4,
            attn_layer_period=2,
            attn_layer_offset=1,
            expert_layer_period=2,
            expert_layer_offset=1,
        ),
    ),
    Family(
        "falcon_h1",
        "falcon_h1",
        "recurrent",
        dict(
            WIDE,
            mamba_d_ssm=64,
            mamba_n_heads=8,
            mamba_d_head=8,
            mamba_n_groups=1,
            mamba_d_state=8,
            mamba_chunk_size=16,
            lm_head_multiplier=0.5,
        ),
    ),
    Family("lfm2", "lfm2", "recurrent", dict(GLU, layer_types=["conv", "full_attention", "conv"], block_auto_adjust_ff_dim=False)),
    Family(
        "qwen3_next",
        "qwen3_next",
        "recurrent",
        dict(
            **WIDE,
            **EXPERTS,
            num_experts=4,
            shared_expert_intermediate_size=32,
            linear_num_value_heads=4,
            linear_num_key_heads=2,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            layer_types=["linear_attention", "full_attention", "linear_attention"],
        ),
    ),
    Family("rwkv", "rwkv", "stateless_cache", dict(context_length=POSITIONS, attention_hidden_size=32), EAGER, padded=False),
    Family(
        "recurrent_gemma",
        "recurrent_gemma",
        "stateless_cache",
        dict(WIDE, lru_width=32, attention_window_size=WINDOW, block_types=["recurrent", "attention"]),
        padded=False,
    ),
    Family(
        "t5",
        "t5",
        "encoder_decoder",
        dict(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=PAD),
        seed=33,
    ),
    Family("bart", "bart", "encoder_decoder", SEQ2SEQ, seed=10),
    Family("mbart", "mbart", "encoder_decoder", SEQ2SEQ),
    Family("pegasus", "pegasus", "encoder_decoder", SEQ2SEQ, seed=2),
]

FAMILY = {family.name: family for family in ALL}

TREE, EXPAND, RECURRENT, STATELESS, ENCODER_DECODER = (
    [family for family in ALL if family.kind == kind]
    for kind in ("tree", "expand", "recurrent", "stateless_cache", "encoder_decoder")
)
