"""RankGen: how well a continuation follows a prefix, as the dot product of two readings by one T5 encoder.

Krishna et al., *RankGen: Improving Text Generation with Large Ranking Models* (2022, arXiv 2205.09726).
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from counterpoint.decoders.forwards.ragged import padded
from counterpoint.rankers.base import Texts
from counterpoint.rankers.bi_encoder import BiEncoderRanker, Side
from counterpoint.rankers.rankgen.checkpoints import PUBLISHED_TOKENIZER, checkpoint_folder, load_encoder, load_tokenizer
from counterpoint.rankers.rankgen.encoder import RankGenEncoder

MARKERS: dict[Side, str] = {"prefix": "pre ", "suffix": "suffi "}
"""The marker that a prefix and a suffix begin with."""
LIMITS: dict[Side, int] = {"prefix": 512, "suffix": 128}
"""Tokens that are read, the marker's among them."""
TRUNCATIONS = ("nearest", "released")


class RankGenRanker(BiEncoderRanker):
    """s(prefix, continuation) = <e("pre " + prefix), e("suffi " + continuation)>, with e as in :class:`RankGenEncoder`.

    A plain dot product: the vectors are not normalised, and neither the length nor the language model's probability plays a part
    (Krishna et al. 2022, arXiv 2205.09726; its figure 2 shows scores of about 6 to 11).

    At most 512 tokens of a prefix and 128 of a continuation are read: the beginning of a long continuation, and the end of a long
    prefix, which the continuation follows. The released code reads a prefix's beginning; ``truncation="released"`` does so too.

    Texts are encoded in batches of like length, so that little of them is padding. In float16 T5's activations overflow in the
    large sizes; bfloat16 and float32, as released, do not.

    Args:
        encoder: The encoder; it is set to evaluation.
        tokenizer: Its tokenizer, T5's.
        truncation: "nearest" (the marker, and what is nearest to the suffix) or "released" (the beginning).
        batch_size: Texts to a forward; 32 as released.

    Raises:
        ValueError: For another ``truncation`` or a ``batch_size`` below 1; for a tokenizer that is not the encoder's: one with too
            many tokens, other special tokens or none for a marker; and from scoring, for vectors that are not finite.

    Example:
        >>> import torch
        >>> from transformers import T5Config, T5Tokenizer
        >>> from counterpoint.rankers import RankGenEncoder, RankGenRanker
        >>> words = ["<pad>", "</s>", "<unk>", "▁pre", "▁suffi", "▁the", "▁sea", "▁was", "▁calm"]
        >>> tokenizer = T5Tokenizer([(word, 0.0) for word in words], extra_ids=0)
        >>> config = T5Config(vocab_size=32, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu")
        >>> ranker = RankGenRanker(RankGenEncoder(config), tokenizer)  # or RankGenRanker.from_pretrained(folder)
        >>> ranker.score(["the sea"], [[" was calm", " was the sea"]])[0].shape
        torch.Size([2])
    """

    comparable = False  # a dot product grows with the prefix's norm, and the loss compares candidates of one prefix only

    def __init__(
        self,
        encoder: RankGenEncoder,
        tokenizer: PreTrainedTokenizerBase,
        *,
        truncation: str = "nearest",
        batch_size: int = 32,
    ) -> None:
        if truncation not in TRUNCATIONS:
            raise ValueError(f"truncation={truncation!r}: choose one of {', '.join(TRUNCATIONS)}")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: take 1 text or more")
        check_vocabulary(encoder, tokenizer)
        encoder.train(False)
        self.encoder, self.tokenizer, self.truncation, self.batch_size = encoder, tokenizer, truncation, batch_size

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        truncation: str = "nearest",
        batch_size: int = 32,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> RankGenRanker:
        """Load a checkpoint: the published layout, the older one of two pickles, or what :meth:`save_pretrained` wrote.

        No code that comes with it is run, and pickles may hold weights only.

        Args:
            name: A folder, or a repository on the Hugging Face hub, such as ``kalpeshk2011/rankgen-t5-xl-all``.
            tokenizer: None takes the one in the folder, or else T5 1.1's, ``google/t5-v1_1-base``, as the published checkpoints do.
            truncation: As for the class.
            batch_size: As for the class.
            dtype: Type of the weights, and of the forward.
            device: Device that the encoder runs on.

        Raises:
            ValueError: As for the class; for missing, unexpected or ill-shaped weights, naming them; for NaN in them; for a pickle
                that holds anything but weights.
            OSError: If there is no such checkpoint or no tokenizer.
        """
        folder = checkpoint_folder(name)
        encoder = load_encoder(folder, dtype)
        encoder.to(device)  # type: ignore[arg-type]
        own = load_tokenizer(folder) if tokenizer is None else tokenizer
        return cls(encoder, own, truncation=truncation, batch_size=batch_size)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the encoder, as safetensors with the published names, and its tokenizer for :meth:`from_pretrained`."""
        self.encoder.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    @override
    @torch.inference_mode()
    def embed(self, texts: Texts, side: Side) -> Float[Tensor, "texts width"]:
        tokens = [self.tokens(text, side) for text in texts]
        order = sorted(range(len(texts)), key=lambda index: len(tokens[index]))
        vectors = torch.cat(
            [
                self.encoder(**self.padded([tokens[index] for index in order[start : start + self.batch_size]])).float()
                for start in range(0, len(order), self.batch_size)
            ]
        )
        overflown = ~vectors.isfinite().all(dim=1)
        if overflown.any():
            text = texts[order[int(overflown.nonzero()[0])]]
            raise ValueError(
                f"{side} {text!r} has a vector that is not finite in {self.encoder.dtype}; float16 overflows in T5: load with "
                "dtype=torch.float32 or torch.bfloat16"
            )
        return vectors[torch.tensor(order).argsort()]

    def tokens(self, text: str, side: Side) -> list[int]:
        """The tokens of a text that are read, from the marker on."""
        tokens: list[int] = self.tokenizer(MARKERS[side] + text, verbose=False)["input_ids"]
        limit = LIMITS[side]
        if len(tokens) <= limit or side == "suffix" or self.truncation == "released":
            return tokens[:limit]
        marker = len(self.tokenizer(MARKERS[side].strip(), add_special_tokens=False)["input_ids"])
        return tokens[:marker] + tokens[marker - limit :]

    def padded(self, tokens: list[list[int]]) -> dict[str, Tensor]:
        """A batch for the encoder, padded on the right; the mask hides what with."""
        ids, mask = padded(tokens, device=self.encoder.device)
        return {"input_ids": ids, "attention_mask": mask}


def check_vocabulary(encoder: RankGenEncoder, tokenizer: PreTrainedTokenizerBase) -> None:
    """The tokenizer may be the one that the encoder was trained with.

    Raises:
        ValueError: If it cannot be.
    """
    config, way_out = encoder.config, f"pass the one of T5 1.1, {PUBLISHED_TOKENIZER}"
    if len(tokenizer) > config.vocab_size:
        raise ValueError(f"tokenizer has {len(tokenizer)} tokens and the encoder {config.vocab_size}; {way_out}")
    for name in ("pad_token_id", "eos_token_id"):
        theirs, own = getattr(tokenizer, name), getattr(config, name)
        if theirs != own:
            raise ValueError(f"tokenizer has {name}={theirs} and the encoder {own}; {way_out}")
    for marker in MARKERS.values():
        tokens = tokenizer(marker)["input_ids"]
        if tokenizer.unk_token_id in tokens or tokens[-1] != tokenizer.eos_token_id:
            pieces = tokenizer.convert_ids_to_tokens(tokens)
            raise ValueError(f"tokenizer reads the marker {marker!r} as {pieces}, not as tokens and an end of text; {way_out}")
