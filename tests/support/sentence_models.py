"""Tiny random models for sentence-transformers, written to a folder once and loaded from there."""

from __future__ import annotations

import atexit
import shutil
import string
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizer

WIDTH, ROOM = 32, 64


@cache
def folder(labels: int = 0) -> Path:
    """A BERT with a tokenizer of letters, and with a classifier if it has labels."""
    place = Path(mkdtemp(prefix="counterpoint-tests-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    letters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    BertTokenizer(vocab={piece: index for index, piece in enumerate(pieces)}, model_max_length=ROOM).save_pretrained(place)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=ROOM,
        num_labels=max(labels, 1),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model: Any = BertForSequenceClassification(config) if labels else BertModel(config)
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.data.normal_(std=0.3)
    model.save_pretrained(place)
    return place


@cache
def bi_encoder(similarity: str = "cosine") -> Any:
    """A bi-encoder: the mean of the last states."""
    library = pytest.importorskip("sentence_transformers", reason="needs the extra sentence-transformers")
    return library.SentenceTransformer(str(folder()), device="cpu", similarity_fn_name=similarity)


@cache
def cross_encoder() -> Any:
    """A cross-encoder with one label."""
    library = pytest.importorskip("sentence_transformers", reason="needs the extra sentence-transformers")
    return library.CrossEncoder(str(folder(labels=1)), device="cpu")
