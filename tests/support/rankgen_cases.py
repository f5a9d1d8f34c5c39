"""A tiny RankGen with random weights: its tokenizer, its configuration, and its state dict in the published layout."""

from __future__ import annotations

import json
import string
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from counterpoint.rankers import RankGenEncoder

WORDS = "pre suffi the a of and to in was it he she sea ship captain letter her his nothing said boats came back".split()
SHARED, EMBEDDING = "t5_encoder.shared.weight", "t5_encoder.encoder.embed_tokens.weight"


@cache
def tiny_tokenizer() -> T5Tokenizer:
    """T5's, of some words and the letters; text ends with ``</s>``."""
    pieces = [f"▁{word}" for word in WORDS] + ["▁", *string.ascii_letters, *".,;:?!-'"]
    scores = [-1.0] * len(WORDS) + [-4.0] * (len(pieces) - len(WORDS))
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), *zip(pieces, scores, strict=True)]
    return T5Tokenizer(vocabulary, extra_ids=0)


def tiny_config(**changes: Any) -> T5Config:
    """Of T5 1.1's kind, with a vocabulary that is padded as theirs is."""
    sizes = dict(vocab_size=96, d_model=24, d_kv=8, d_ff=40, num_layers=2, num_heads=2, relative_attention_num_buckets=8)
    return T5Config(**{**sizes, "feed_forward_proj": "gated-gelu", **changes})


def published_state_dict(config: T5Config) -> dict[str, Tensor]:
    """Random weights under the published names."""
    generator = torch.Generator().manual_seed(0)
    shapes = {f"t5_encoder.{name}": weights.shape for name, weights in T5EncoderModel(tiny_config_of(config)).state_dict().items()}
    shapes["projection.weight"] = torch.Size([config.d_model, config.d_model])
    state = {name: torch.randn(shape, generator=generator) * 0.4 for name, shape in shapes.items()}
    return {**state, EMBEDDING: state[SHARED].clone()}


def tiny_config_of(config: T5Config) -> T5Config:
    """A copy, since T5EncoderModel changes its configuration."""
    return T5Config.from_dict(config.to_dict())


def write_published(folder: Path, config: T5Config, state_dict: dict[str, Any]) -> Path:
    """A checkpoint as published: configuration with the authors' code in it, weights as a pickle, no tokenizer."""
    folder.mkdir(exist_ok=True)
    published = {
        **config.to_dict(),
        "architectures": ["T5EncoderWithProjection"],
        "auto_map": {"AutoModel": "modeling_rankgen.T5EncoderWithProjection"},
        "is_encoder_decoder": True,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(published), encoding="utf-8")
    torch.save(state_dict, folder / "pytorch_model.bin")
    return folder


@cache
def tiny_encoder() -> RankGenEncoder:
    """The encoder with those weights."""
    config = tiny_config()
    encoder = RankGenEncoder(config)
    encoder.load_state_dict(published_state_dict(config))
    return encoder.eval()


def reference_vector(config: T5Config, state_dict: dict[str, Tensor], tokens: list[int]) -> Tensor:
    """e(text) from scratch: one text, T5's encoder, its first position, a matrix; float32."""
    encoder = T5EncoderModel(tiny_config_of(config)).eval()
    encoder.load_state_dict({name.removeprefix("t5_encoder."): state_dict[name] for name in state_dict if "encoder" in name})
    with torch.no_grad():
        hidden = encoder(input_ids=torch.tensor([tokens])).last_hidden_state
    return state_dict["projection.weight"] @ hidden[0, 0]
