"""One training run: the model, its optimizers, its place in the data, and all that a checkpoint needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from muon import Muon
from tokens import CONTEXT, Order, build_tokenizer, documents, encode
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LOGITS = 2**22  # at a time: 16 MB, which the allocator keeps; larger blocks it returns, and asks for page by page
SPLITS = ("heldout", "heldout-plain")


@dataclass(frozen=True)
class Shape:
    """What a model looks like and how it is trained."""

    vocabulary: int = 8192
    width: int = 256
    layers: int = 4
    feed_forward: int = 688
    heads: int = 4
    matrix_rate: float = 0.02
    embedding_rate: float = 8e-3
    iterations: int = 5
    tokens_per_step: int = 4096

    def model(self, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
        """An untrained model; what is added to the residual stream starts at zero."""
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            intermediate_size=self.feed_forward,
            num_attention_heads=self.heads,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        model = LlamaForCausalLM(config)
        for layer in model.model.layers:
            torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
            torch.nn.init.zeros_(layer.mlp.down_proj.weight)
        return model


class HeldOut:
    """Evenly spread windows of a held-out split, to watch a run by."""

    def __init__(self, corpus: Path, split: str, tokenizer: PreTrainedTokenizerFast, count: int, length: int = 256) -> None:
        texts = [document["text"] for document in documents(corpus / f"{split}.jsonl")]
        stream = torch.cat(encode(tokenizer, texts)).long()
        starts = torch.linspace(0, len(stream) - length - 1, count).long().tolist()
        self.rows = torch.stack([stream[start : start + length] for start in starts])
        self.tokens_per_byte = (len(stream) - len(texts)) / sum(len(text.encode()) for text in texts)

    @torch.no_grad()
    def bits_per_byte(self, model: LlamaForCausalLM) -> float:
        """Estimated from windows that each begin without a context, so a little high."""
        model.eval()
        losses = [model(input_ids=batch, labels=batch, use_cache=False).loss.item() * len(batch) for batch in self.rows.split(8)]
        model.train()
        return sum(losses) / len(self.rows) * self.tokens_per_byte / math.log(2)


class Run:
    """A model in training."""

    def __init__(self, shape: Shape, corpus: Path, work: Path, seed: int = 0) -> None:
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        work.mkdir(parents=True, exist_ok=True)
        self.shape = shape
        self.tokenizer = build_tokenizer(corpus, work / f"tokenizer-{shape.vocabulary}", shape.vocabulary)
        content = documents(corpus / "train.jsonl")
        encoded = work / f"train-{shape.vocabulary}.pt"
        if not encoded.exists():
            torch.save(encode(self.tokenizer, [document["text"] for document in content]), encoded)
        rows = torch.load(encoded)
        self.order = Order(rows, [document["source"] for document in content], seed)
        self.model = shape.model(self.tokenizer)
        named = list(self.model.named_parameters())
        matrices = [parameter for name, parameter in named if parameter.ndim == 2 and "embed" not in name]
        self.others = [parameter for name, parameter in named if parameter.ndim < 2 or "embed" in name]
        self.optimizers = [
            Muon(matrices, lr=shape.matrix_rate, steps=shape.iterations),
            torch.optim.AdamW(self.others, lr=shape.embedding_rate, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        self.peaks = [shape.matrix_rate, shape.embedding_rate]
        self.step_count = self.tokens = 0

    def step(self, rate: float, length: int) -> float:
        """One step at a share of the peak learning rates, on windows of ``length`` tokens; its loss."""
        batch = self.order.batch(self.shape.tokens_per_step // length, length)
        losses = 0.0
        parts: tuple[Tensor, ...] = batch.split(max(1, LOGITS // len(self.tokenizer) // length))
        for part in parts:
            loss = self.model(input_ids=part, labels=part, use_cache=False).loss * (len(part) / len(batch))
            loss.backward()
            losses += loss.item()
        torch.nn.utils.clip_grad_norm_(self.others, 1.0)
        for optimizer, peak in zip(self.optimizers, self.peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * rate
            optimizer.step()
            optimizer.zero_grad()
        self.step_count += 1
        self.tokens += batch.numel()
        return losses

    def save(self, path: Path) -> None:
        """Write all that going on needs, whole or not at all."""
        content = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "place": self.order.place(),
            "step": self.step_count,
            "tokens": self.tokens,
        }
        torch.save(content, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        content = torch.load(path)
        self.model.load_state_dict(content["model"])
        for optimizer, state in zip(self.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.order.go_to(*content["place"])
        self.step_count, self.tokens = content["step"], content["tokens"]
