"""Small tokenizers of every kind that language models have, and what each puts around a text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

CORPUS = [
    "The captain of the ship saw the whale, and the whale rose slowly from the sea.",
    "The old captain said that the ship was lost; the sea was high, the whale near.",
    "The captains of the ships, the shipping, the whaling and the seas.",
]
BOS, EOS, PAD, UNK = "<s>", "</s>", "<pad>", "<unk>"


@dataclass(frozen=True)
class Kind:
    """A tokenizer, and the special tokens before and after what it reads by itself."""

    name: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """One of its own for each test."""
        return made(self.name, self.before, self.after)


def made(name: str, before: tuple[str, ...], after: tuple[str, ...]) -> PreTrainedTokenizerBase:
    """The tokenizer of a kind."""
    backend: Any = Tokenizer.from_str(trained(name.split()[0]))
    if before or after:
        known = [(token, backend.token_to_id(token)) for token in (*before, *after)]
        backend.post_processor = processors.TemplateProcessing(single=" ".join([*before, "$A", *after]), special_tokens=known)
    if "one" in name.split():  # begin, end and padding are one token, as GPT-2's
        return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=EOS, eos_token=EOS, pad_token=EOS, unk_token=UNK)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=BOS, eos_token=EOS, pad_token=PAD, unk_token=UNK)


@cache
def trained(algorithm: str) -> str:
    """The algorithm's tokenizer as JSON, trained on the corpus."""
    special = [PAD, BOS, EOS, UNK]
    backend: Any
    trainer: Any
    if algorithm == "bytes":  # GPT-2's, Llama 3's, Qwen's
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    elif algorithm == "unigram":  # T5's: a space before every text
        backend = Tokenizer(models.Unigram())
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        backend.decoder = decoders.Metaspace(prepend_scheme="always")
        trainer = trainers.UnigramTrainer(vocab_size=80, special_tokens=special, unk_token=UNK, show_progress=False)
    elif algorithm == "first":  # Mistral's: a space before the first word alone
        backend = Tokenizer(models.BPE(unk_token=UNK))
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        backend.decoder = decoders.Metaspace(prepend_scheme="first")
        trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    elif algorithm == "legacy":  # Llama 2's: a space before whatever stands between special tokens
        backend = Tokenizer(models.BPE(unk_token=UNK))
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    else:  # BERT's
        backend = Tokenizer(models.WordPiece(unk_token=UNK))
        backend.normalizer = normalizers.Lowercase()
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        backend.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=100, special_tokens=special, show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    return str(backend.to_str())


KINDS = [
    Kind("bytes"),
    Kind("bytes bos", (BOS,)),
    Kind("bytes bos eos", (BOS,), (EOS,)),
    Kind("bytes one", (EOS,)),
    Kind("bytes one both", (EOS,), (EOS,)),
    Kind("unigram eos", (), (EOS,)),
    Kind("first bos", (BOS,)),
    Kind("first bos eos", (BOS,), (EOS,)),
    Kind("legacy bos", (BOS,)),
    Kind("wordpiece bos eos", (BOS,), (EOS,)),
]
