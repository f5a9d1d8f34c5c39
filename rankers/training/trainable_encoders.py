"""The encoders that contrastive training starts from and writes: RankGen's T5, and sentence-transformers' models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, T5Config, T5EncoderModel
from typing_extensions import override

from counterpoint.rankers.base import Ranker
from counterpoint.rankers.bi_encoder import Side
from counterpoint.rankers.rankgen.encoder import RankGenEncoder
from counterpoint.rankers.rankgen.rankgen import RankGenRanker
from counterpoint.rankers.sentence import SentenceTransformerRanker, ending, length, room_of
from counterpoint.rankers.training.info_nce import Tokens, TrainableEncoder
from counterpoint.rankers.weight_files import refusals

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SENTENCE_FILE = "modules.json"
"""What a folder of sentence-transformers has."""
RANKGEN = "RankGenEncoder"
"""The architecture that the configuration of a saved RankGen names, or the published name below."""
PUBLISHED = "T5EncoderWithProjection"
NOT_RUN = "no code of a model runs in a training; start from one without"


class TrainableRankGen(TrainableEncoder):
    """RankGen's encoder, with the tokens that its ranker reads."""

    def __init__(self, ranker: RankGenRanker) -> None:
        super().__init__()
        self.ranker = ranker
        self.encoder = ranker.encoder

    @override
    def tokens(self, texts: Sequence[str], side: Side) -> Tokens:
        return self.ranker.padded([self.ranker.tokens(text, side) for text in texts])

    @override
    def forward(self, **tokens: Tensor) -> Float[Tensor, "texts width"]:
        vectors: Tensor = self.encoder(**tokens)
        return vectors

    @override
    def as_ranker(self) -> Ranker:
        return self.ranker

    @override
    def save(self, folder: Path) -> None:
        self.ranker.save_pretrained(folder)


class TrainableSentenceEncoder(TrainableEncoder):
    """A model of sentence-transformers, with the dot product as its similarity.

    A layer that normalises the vectors is taken off: without a temperature the loss needs the dot product's whole range, as the
    authors of RankGen found.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Normalize

        modules = [module for module in model if not isinstance(module, Normalize)]
        prompts: Any = model.prompts
        self.model = SentenceTransformer(modules=modules, prompts=prompts, similarity_fn_name="dot", device=str(model.device))

    @override
    def tokens(self, texts: Sequence[str], side: Side) -> Tokens:
        ranker, read = SentenceTransformerRanker(self.model), list(texts)
        prompt = ranker.prefix_prompt if side == "prefix" else self.model.prompts.get("document")
        if side == "prefix":
            room, before = room_of(self.model), prompt or ""
            read = [ending(text, lambda end: length(self.model, before + end) <= room) for text in texts]
        features = self.model.preprocess(read, prompt=prompt)
        return {name: value for name, value in features.items() if isinstance(value, Tensor)}

    @override
    def forward(self, **tokens: Tensor) -> Float[Tensor, "texts width"]:
        vectors: Tensor = self.model(tokens)["sentence_embedding"]
        return vectors

    @override
    def as_ranker(self) -> Ranker:
        return SentenceTransformerRanker(self.model)

    @override
    def save(self, folder: Path) -> None:
        self.model.save_pretrained(str(folder), create_model_card=False)


def load_encoder(name: str, seed: int = 0) -> TrainableEncoder:
    """The encoder of a model, ready to be trained as a ranker.

    Args:
        name: A folder or a repository on the Hugging Face hub: a RankGen; a T5, whose encoder gets RankGen's projection, at first
            the identity; or a model of sentence-transformers, or any encoder that it can load, with mean pooling.
        seed: Seed of weights that the model lacks.

    Raises:
        ImportError: For the last kind without sentence-transformers.
        OSError: If there is no such model.
        ValueError: If the model cannot be loaded whole.
    """
    folder = Path(name)
    if not (folder / SENTENCE_FILE).exists():
        with refusals(name, NOT_RUN):
            config = AutoConfig.from_pretrained(name, local_files_only=folder.is_dir(), trust_remote_code=False)
        if isinstance(config, T5Config):
            rankgen = {RANKGEN, PUBLISHED} & set(config.architectures or [])
            return TrainableRankGen(RankGenRanker.from_pretrained(name) if rankgen else from_t5(name))
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ImportError(
            f"{name} is not a T5; other encoders need sentence-transformers: pip install counterpoint[sentence-transformers]"
        ) from error
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        with refusals(name, NOT_RUN):
            return TrainableSentenceEncoder(SentenceTransformer(name, local_files_only=folder.is_dir(), trust_remote_code=False))


def from_t5(name: str) -> RankGenRanker:
    """A RankGen of a T5's encoder: its vectors are the states at the first position until it is trained."""
    with refusals(name, NOT_RUN):
        t5: Any = T5EncoderModel.from_pretrained(name, dtype=torch.float32, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    encoder = RankGenEncoder(t5.config)
    encoder.t5_encoder.load_state_dict(t5.state_dict())
    torch.nn.init.eye_(encoder.projection.weight)
    return RankGenRanker(encoder, tokenizer)


def load_ranker(folder: Path) -> Ranker:
    """The ranker that a training wrote."""
    if (folder / SENTENCE_FILE).exists():
        return SentenceTransformerRanker(folder)
    return RankGenRanker.from_pretrained(folder)


def half(folder: Path) -> None:
    """Store a RankGen's weights as float16; they load as float32."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file({name: weight.half() for name, weight in load_file(path).items()}, path, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float32"}, indent=2) + "\n", encoding="utf-8")
