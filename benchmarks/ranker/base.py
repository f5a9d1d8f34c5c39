"""A T5 encoder with the embedded expert's weights, to be trained as the embedded ranker.

Usage: ``python base.py --output-dir DIR --layers 2``

T5 and Llama have the same layers but for positions: T5 has no rotary embedding and adds a bias for each distance, here 0 at first,
and it does not scale the products of queries and keys, so that the scale is put into the queries. The last layer attends to all
positions alike at first, which makes the first position, where a ranker reads, a mean over the text.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tokenizers import Regex, normalizers
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer, T5Config, T5EncoderModel

from counterpoint.eval import EXPERT


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=2, help="of the expert's, from the lowest")
    arguments = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(EXPERT)
    end = tokenizer.eos_token
    backend = tokenizer.backend_tokenizer  # like T5's: white space is one space, and texts end
    backend.normalizer = normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])
    backend.post_processor = TemplateProcessing(single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)])
    tokenizer.padding_side = "right"

    expert = AutoModelForCausalLM.from_pretrained(EXPERT, dtype=torch.float32)
    config = expert.config
    encoder = T5EncoderModel(
        T5Config(
            vocab_size=config.vocab_size,
            d_model=config.hidden_size,
            d_kv=config.head_dim,
            d_ff=config.intermediate_size,
            num_layers=arguments.layers,
            num_heads=config.num_attention_heads,
            feed_forward_proj="gated-silu",
            dropout_rate=0.0,
            layer_norm_epsilon=config.rms_norm_eps,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    with torch.no_grad():
        encoder.shared.weight.copy_(expert.model.embed_tokens.weight)
        for block, layer in zip(encoder.encoder.block, expert.model.layers, strict=False):
            attention, forward = block.layer
            for mine, its in zip("qkvo", ("q_proj", "k_proj", "v_proj", "o_proj"), strict=True):
                getattr(attention.SelfAttention, mine).weight.copy_(getattr(layer.self_attn, its).weight)
            attention.SelfAttention.q.weight.mul_(config.head_dim**-0.5)
            attention.layer_norm.weight.copy_(layer.input_layernorm.weight)
            forward.layer_norm.weight.copy_(layer.post_attention_layernorm.weight)
            for mine, its in (("wi_0", "gate_proj"), ("wi_1", "up_proj"), ("wo", "down_proj")):
                getattr(forward.DenseReluDense, mine).weight.copy_(getattr(layer.mlp, its).weight)
        encoder.encoder.final_layer_norm.weight.copy_(expert.model.norm.weight)
        encoder.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.zero_()
        encoder.encoder.block[-1].layer[0].SelfAttention.q.weight.zero_()
    encoder.save_pretrained(arguments.output_dir)
    tokenizer.save_pretrained(arguments.output_dir)


if __name__ == "__main__":
    main()
