"""Rankers from the values that text gives: one function each, read by its signature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.rankers import SMALL
from counterpoint.rankers.base import Ranker
from counterpoint.rankers.bert_score import BertScore
from counterpoint.rankers.consensus import ConsensusRanker
from counterpoint.rankers.judges.certainty import ConfidenceRanker, SelfCertaintyRanker
from counterpoint.rankers.judges.judge import JudgeRanker
from counterpoint.rankers.judges.process_reward import ProcessRewardRanker
from counterpoint.rankers.judges.reward import RewardModelRanker
from counterpoint.rankers.judges.vote import VoteRanker
from counterpoint.rankers.likelihood import LikelihoodRanker
from counterpoint.rankers.overlap import OverlapRanker
from counterpoint.rankers.rankgen.rankgen import RankGenRanker
from counterpoint.rankers.sentence import CrossEncoderRanker, SentenceTransformerRanker
from counterpoint.rankers.utilities import Bleu, ChrF, EmbeddingCosine, NgramF1


def small(device: Any = None) -> Ranker:
    """The embedded ranker."""
    return RankGenRanker.from_pretrained(SMALL, device=device)


def rankgen(path: str, *, truncation: str = "nearest", batch_size: int = 32, device: Any = None) -> Ranker:
    """RankGen, in float32 as released."""
    return RankGenRanker.from_pretrained(path, truncation=truncation, batch_size=batch_size, device=device)


def sentence(
    path: str,
    *,
    prefix_prompt: str = "",
    suffix_prompt: str = "",
    batch_size: int = 32,
    device: Any = None,
    trust_remote_code: bool = False,
) -> Ranker:
    """A bi-encoder, with its own prompts unless others are given."""
    prompts = {"prefix_prompt": prefix_prompt or None, "suffix_prompt": suffix_prompt or None}
    options: dict[str, Any] = {"device": device and str(device), "trust_remote_code": trust_remote_code}
    return SentenceTransformerRanker(path, **prompts, batch_size=batch_size, **options)


def cross_encoder(
    path: str, *, prompt: str = "", batch_size: int = 32, device: Any = None, trust_remote_code: bool = False
) -> Ranker:
    """A cross-encoder, with its own prompt unless another is given."""
    options: dict[str, Any] = {"device": device and str(device), "trust_remote_code": trust_remote_code}
    return CrossEncoderRanker(path, prompt=prompt or None, batch_size=batch_size, **options)


def likelihood(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    form: str = "per_token",
    decoder: Sequence[LogitsProcessor] = (),
) -> Ranker:
    """The likelihood under a language model, which a decoder may shape."""
    return LikelihoodRanker(model, tokenizer, decoder=list(decoder) or None, form=form)


def overlap(*, n: int = 1) -> Ranker:
    """The share of n-grams that the prefix has too."""
    return OverlapRanker(n=n)


def consensus(
    *,
    utility: str = "ngram",
    n: int = 1,
    aggregate: bool = False,
    prune: float = 0.0,
    path: str = "",
    layer: int = 0,
    device: Any = None,
    trust_remote_code: bool = False,
) -> Ranker:
    """The mean utility for the other candidates: n-grams of words, chrF, BLEU, BERTScore, or a bi-encoder's cosine.

    Raises:
        ValueError: For another ``utility``, and a path or a layer without the utility that needs it, or the other way round.
    """
    options: dict[str, Any] = {"device": device, "trust_remote_code": trust_remote_code}
    utilities: dict[str, Any] = {
        "ngram": lambda: NgramF1(n=n),
        "chrf": ChrF,
        "bleu": Bleu,
        "bertscore": lambda: BertScore.from_pretrained(
            path, layer=layer or None, device=device, trust_remote_code=trust_remote_code
        ),
        "cosine": lambda: EmbeddingCosine(sentence(path, **options)),  # type: ignore[arg-type]
    }
    if utility not in utilities:
        raise ValueError(f"utility={utility!r}: choose one of {', '.join(utilities)}")
    if (utility in ("cosine", "bertscore")) != bool(path):
        raise ValueError(
            f"path={path!r} with utility={utility!r}: the path is of the bi-encoder of utility=cosine, which needs one, or of the "
            "encoder of utility=bertscore"
        )
    if layer and utility != "bertscore":
        raise ValueError(f"layer={layer} with utility={utility!r}: the layer is of the encoder of utility=bertscore")
    return ConsensusRanker(utility=utilities[utility](), aggregate=aggregate, prune=prune)


def self_certainty(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Ranker:
    """Self-certainty by a language model."""
    return SelfCertaintyRanker(model, tokenizer)


def confidence(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    measure: str = "lowest",
    window: int = 2048,
    top: int = 20,
) -> Ranker:
    """DeepConf's confidence by a language model."""
    return ConfidenceRanker(model, tokenizer, measure=measure, window=window, top=top)


def reward(path: str, *, template: bool = True, max_length: int = 0, batch_size: int = 8, device: Any = None) -> Ranker:
    """A reward model, in its own dtype."""
    settings: dict[str, Any] = {"template": template, "max_length": max_length, "batch_size": batch_size}
    return RewardModelRanker.from_pretrained(path, device=device, **settings)


def process_reward(
    path: str,
    *,
    format: str = "shepherd",  # noqa: A002
    step: str = "\\n\\n",
    aggregate: str = "last",
    batch_size: int = 8,
    device: Any = None,
) -> Ranker:
    r"""A process reward model, in its own dtype; in ``step``, ``\n`` is the end of a line."""
    settings: dict[str, Any] = {"step": step.replace("\\n", "\n"), "aggregate": aggregate, "batch_size": batch_size}
    return ProcessRewardRanker.from_pretrained(path, format=format, device=device, **settings)


def judge(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    pairwise: bool = False,
    prompt: str = "",
    calibrate: bool = False,
) -> Ranker:
    """A language model that is asked."""
    return JudgeRanker(model, tokenizer, pairwise=pairwise, prompt=prompt, calibrate=calibrate)


def vote(ranker: Ranker | None = None, *, answer: str = "auto", power: float | None = None, keep: float = 1.0) -> Ranker:
    """The share of votes of a text's answer."""
    return VoteRanker(ranker, answer=answer, power=power, keep=keep)
