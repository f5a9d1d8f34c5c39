"""Rankers from sentence-transformers: bi-encoders, which compare embeddings, and cross-encoders, which read pairs."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from counterpoint.rankers.base import CandidateScorer, Ranker, Scores, Texts, split
from counterpoint.rankers.bi_encoder import BiEncoderRanker, Side
from counterpoint.rankers.weight_files import refusals

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer


class SentenceTransformerRanker(BiEncoderRanker):
    """Scores by any bi-encoder of sentence-transformers: how similar it finds a continuation to its prefix.

        s(prefix, x) = similarity(e(prefix), e(x))

    The similarity is the model's own (``similarity_fn_name``): cosine, dot product, or minus a distance. Models that tell queries
    from documents read prefixes as queries and continuations as documents (``encode_query``, ``encode_document``).

    Of a prefix longer than the model reads (``max_seq_length``) the end is kept, which the continuation follows; the library
    itself would keep the beginning, as it does of continuations.

    Scores are comparable across prefixes unless they are dot products, which grow with the norm of the prefix's embedding.

    Args:
        model: A folder or a model on the Hugging Face hub, or a model that is loaded.
        prefix_prompt: Text before each prefix; by default the model's prompt for queries, if it has one. Others that it has are in
            ``model.prompts``; "" is none.
        suffix_prompt: Text before each continuation; by default the model's prompt for documents.
        batch_size: Number of texts in a forward.
        **options: What ``SentenceTransformer`` takes besides a path: ``device``, ``prompts``, ``similarity_fn_name``,
            ``trust_remote_code`` (off unless given).

    Raises:
        ImportError: For a path without sentence-transformers.
        TypeError: For ``options`` of a model that is loaded.

    Example:
        >>> from counterpoint.rankers import SentenceTransformerRanker
        >>> ranker = SentenceTransformerRanker("all-MiniLM-L6-v2")  # doctest: +SKIP
        >>> ranker.score(["The captain of the"], [[" ship", " cheese"]])  # doctest: +SKIP
        [tensor([0.3530, 0.2755])]
    """

    def __init__(
        self,
        model: SentenceTransformer | str | Path,
        *,
        prefix_prompt: str | None = None,
        suffix_prompt: str | None = None,
        batch_size: int = 32,
        **options: Any,
    ) -> None:
        self.model: Any = loaded("SentenceTransformer", model, options)
        self.batch_size = batch_size
        self.prefix_prompt = self.model.prompts.get("query") if prefix_prompt is None else prefix_prompt
        self.suffix_prompt = suffix_prompt
        self.comparable = self.model.similarity_fn_name != "dot"

    @override
    def embed(self, texts: Texts, side: Side) -> Float[Tensor, "texts width"]:
        options: dict[str, Any] = {"batch_size": self.batch_size, "convert_to_tensor": True, "show_progress_bar": False}
        if side == "suffix":
            return cast(Tensor, self.model.encode_document(list(texts), prompt=self.suffix_prompt, **options))
        room, before = room_of(self.model), self.prefix_prompt or ""
        kept = [ending(text, lambda end: length(self.model, before + end) <= room) for text in texts]
        return cast(Tensor, self.model.encode_query(kept, prompt=self.prefix_prompt, **options))

    @override
    def similarity(self, prefix: Float[Tensor, " width"], suffixes: Float[Tensor, "suffixes width"]) -> Float[Tensor, " suffixes"]:
        return cast(Tensor, self.model.similarity(prefix[None], suffixes)[0])


class CrossEncoderRanker(Ranker):
    """Scores by any cross-encoder of sentence-transformers, which reads a prefix and a continuation together.

        s(prefix, x) = the logit that it gives the pair

    Nothing of a prefix can be read beforehand: every round reads it again with each candidate. Scores are raw logits, not the
    probabilities that the library makes of them, which are 0 or 1 for all that is clear. Whether they mean the same after different
    prefixes depends on how the model was trained (on single pairs, or on lists), so they do not count as comparable.

    Of a prefix that does not fit with its continuation in ``max_seq_length`` the end is kept.

    Args:
        model: A folder or a model on the Hugging Face hub, or a model that is loaded; it has one label.
        prompt: Text before each prefix, or an instruction to a model that reads chats; the model's own by default.
        batch_size: Number of pairs in a forward.
        **options: What ``CrossEncoder`` takes besides a path, such as ``device`` and ``trust_remote_code`` (off unless given).

    Raises:
        ImportError: For a path without sentence-transformers.
        TypeError: For ``options`` of a model that is loaded.
        ValueError: If the model has several labels, so that there is no one score, or lies at the path without the layer that
            scores pairs, as a bi-encoder does.

    Example:
        >>> from counterpoint.rankers import CrossEncoderRanker
        >>> ranker = CrossEncoderRanker("cross-encoder/ms-marco-MiniLM-L6-v2")  # doctest: +SKIP
    """

    comparable = False

    def __init__(
        self, model: CrossEncoder | str | Path, *, prompt: str | None = None, batch_size: int = 32, **options: Any
    ) -> None:
        self.model: Any = loaded("CrossEncoder", model, options)
        if isinstance(model, str | Path):
            check_scores_pairs(str(model), self.model.config.architectures or [])
        if self.model.num_labels != 1:
            raise ValueError(f"model has {self.model.num_labels} labels; a ranker needs one that gives a single score")
        self.batch_size = batch_size
        self.prompt = self.model.prompts.get(self.model.default_prompt_name or "") if prompt is None else prompt

    @override
    def prepare(self, prefixes: Texts) -> CandidateScorer:
        def scores_of(candidates: Sequence[Texts]) -> Scores:
            pairs = [(prefix, text) for prefix, texts in zip(prefixes, candidates, strict=True) for text in texts]
            return split(self.logits(pairs), candidates) if pairs else [torch.empty(0) for _ in prefixes]

        return scores_of

    def logits(self, pairs: Sequence[tuple[str, str]]) -> Float[Tensor, " pairs"]:
        """The score of each pair; equal pairs are read once."""
        distinct = list(dict.fromkeys(pairs))
        found: Tensor = self.model.predict(
            [[self.kept(prefix, text), text] for prefix, text in distinct],
            prompt=self.prompt,
            batch_size=self.batch_size,
            activation_fn=torch.nn.Identity(),
            convert_to_tensor=True,
            show_progress_bar=False,
        )
        place = {pair: index for index, pair in enumerate(distinct)}
        return found[[place[pair] for pair in pairs]]

    def kept(self, prefix: str, text: str) -> str:
        """The end of a prefix that fits beside a continuation: half of the room if that is long as well."""
        room, before = room_of(self.model), self.prompt or ""
        room = max(room - length(self.model, text), room // 2)
        return ending(prefix, lambda end: length(self.model, before + end) <= room)


def loaded(kind: str, model: Any, options: dict[str, Any]) -> Any:
    """The model, loaded by the class of sentence-transformers of that name if it is a path.

    Raises:
        ImportError: If it is a path, and sentence-transformers is not installed.
        TypeError: If it is loaded, and there are options of loading.
    """
    if not isinstance(model, str | Path):
        if options:
            raise TypeError(
                f"{', '.join(options)}: options of loading, and model is loaded already; pass its path, or leave them out"
            )
        return model
    try:
        import sentence_transformers
    except ImportError as error:
        raise ImportError("this ranker needs an extra: pip install counterpoint[sentence-transformers]") from error
    with refusals(f"model {model}"):
        return getattr(sentence_transformers, kind)(str(model), **{"trust_remote_code": False, **options})


def check_scores_pairs(name: str, architectures: Sequence[str]) -> None:
    """Refuse a checkpoint without the layer that scores pairs, which would be drawn at random.

    Raises:
        ValueError: If there is none.
    """
    if architectures and not any(kind.endswith(("ForSequenceClassification", "ForCausalLM")) for kind in architectures):
        raise ValueError(
            f"{name} is a {', '.join(architectures)}, not a cross-encoder: the layer that scores pairs would have random weights; "
            "is it a bi-encoder, for SentenceTransformerRanker?"
        )


def ending(text: str, fits: Callable[[str], bool]) -> str:
    """The longest end of a text that fits.

    Example:
        >>> ending("the captain of the ship", lambda end: len(end) <= 11)
        'of the ship'
    """
    return text if fits(text) else text[bisect_left(range(len(text)), True, key=lambda start: fits(text[start:])) :]


def room_of(model: SentenceTransformer | CrossEncoder) -> float:
    """The number of tokens that a model reads."""
    return math.inf if model.max_seq_length is None else float(model.max_seq_length)


def length(model: SentenceTransformer | CrossEncoder, text: str) -> int:
    """The number of a text's tokens, special ones included; 0 by a tokenizer that is not of transformers and cuts nothing."""
    tokenizer: Any = model.tokenizer
    return len(tokenizer(text, verbose=False)["input_ids"]) if isinstance(tokenizer, PreTrainedTokenizerBase) else 0
