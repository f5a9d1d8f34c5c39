"""DeepConf online as a whole: a warm-up, texts that are ended where the model becomes unsure, and the vote of the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.rankers.continuation_texts import end_of
from counterpoint.rankers.judges.answers import Extract
from counterpoint.rankers.judges.confidence_stop import ConfidenceStop
from counterpoint.rankers.judges.measures import least_kept
from counterpoint.rankers.judges.vote import VoteRanker


@dataclass(frozen=True)
class ConfidentVote:
    """All texts of :func:`confident_vote`, the winner's surest first, those without a vote last."""

    texts: tuple[str, ...]
    scores: tuple[float, ...]
    """The share of the votes of each text's answer, as of :class:`~counterpoint.rankers.VoteRanker`; 0 for texts without a vote."""
    confidences: tuple[float, ...]
    """The lowest confidence of a window of each text, which is the weight of its vote."""
    ended: tuple[bool, ...]
    """Which texts were ended while they were written."""
    least: float
    """The confidence below which they were."""


def confident_vote(
    model: PreTrainedModel,
    inputs: Mapping[str, Tensor],
    tokenizer: PreTrainedTokenizerBase,
    *,
    answer: str | Extract = "auto",
    equal: Callable[[str, str], bool] | None = None,
    warm_up: int = 16,
    candidates: int = 256,
    keep: float = 0.1,
    window: int = 2048,
    top: int = 20,
    batch_size: int = 16,
    **settings: Any,
) -> ConfidentVote:
    r"""Sample texts, end those of which the model becomes unsure, and let the others vote, each by its confidence.

        w_j = min over windows of mean C;    s(x_i) = sum_j w_j [answer(x_j) = answer(x_i)] / sum_j w_j

    Fu et al., *Deep Think with Confidence* (2025, arXiv 2508.15260), the online form: ``warm_up`` texts are written to their ends,
    of whose w the quantile 1 - ``keep`` is the threshold; the others are ended by :class:`~counterpoint.rankers.ConfidenceStop`
    as soon as a whole window is below it. Warm-up texts at or above it and all that were not ended vote. The paper's stop
    after a consensus is not part of its released code, and not of this.

    Args:
        model: The model that writes.
        inputs: One prompt, as ``generate`` takes it: ``input_ids`` and what goes with them.
        tokenizer: The model's.
        answer: What a text's answer is, as for :class:`~counterpoint.rankers.VoteRanker`.
        equal: Whether two answers are the same, as there.
        warm_up: How many texts are written first; 16 as released.
        candidates: How many texts are written in all; 256 as released.
        keep: The share of the warm-up that votes; 0.1 in the paper's "low" form, 0.9 in its "high" one.
        window: Number of tokens in a window; 2048 as released.
        top: k of C; 20 as released.
        batch_size: How many texts are written together.
        **settings: For ``generate``; it samples.

    Raises:
        ValueError: For several prompts, fewer ``candidates`` than ``warm_up``, numbers below 1, ``keep`` outside (0, 1], no token
            of a text's end, and settings that :class:`~counterpoint.rankers.ConfidenceStop` refuses.

    Example:
        >>> from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
        >>> from counterpoint.rankers import SMALL, confident_vote
        >>> tokenizer = AutoTokenizer.from_pretrained(SMALL)
        >>> sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
        >>> ends = dict(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes, **ends))  # in its place any language model
        >>> inputs = tokenizer("1 + 1 =", return_tensors="pt")
        >>> found = confident_vote(
        ...     model, inputs, tokenizer, answer=r"\w+", warm_up=4, candidates=10, keep=0.5, window=4, max_new_tokens=8
        ... )
        >>> len(found.texts), found.scores[0] == max(found.scores)
        (10, True)
    """
    if len(inputs["input_ids"]) != 1:
        raise ValueError(f"inputs: {len(inputs['input_ids'])} prompts; votes are of one prompt's texts, so call it for each")
    for name, value in (("warm_up", warm_up), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name}={value}: a number of texts, 1 or more")
    if candidates < warm_up:
        raise ValueError(f"candidates={candidates} are all texts, warm_up={warm_up} among them: give at least as many")
    if not 0 < keep <= 1:
        raise ValueError(f"keep={keep}: the share of the warm-up that votes is above 0 and at most 1")
    vote = VoteRanker(answer=answer, equal=equal)
    if settings.get("eos_token_id", model.generation_config.eos_token_id) is None:
        raise ValueError(
            "eos_token_id is None, so that generate goes on with texts that were ended; name the token of a text's end"
        )
    begun = inputs.get("decoder_input_ids") if model.config.is_encoder_decoder else inputs["input_ids"]
    width = 1 if begun is None else begun.shape[1]  # a decoder begins with its start token
    texts: list[str] = []
    ended: list[bool] = []
    weights: list[float] = []

    def write(number: int, least: float) -> None:
        while len(texts) < number:
            stop = ConfidenceStop(least, window=window, top=top)
            rows = min(batch_size, number - len(texts))
            texts.extend(written(model, inputs, tokenizer, stop, width, num_return_sequences=rows, **settings))
            ended.extend(stop.ended.tolist())
            weights.extend(stop.lowest.tolist())

    write(warm_up, -math.inf)
    known = [weight for weight in weights if weight > -math.inf]  # of texts that have a token
    least = least_kept(known, keep=keep) if known else -math.inf
    write(candidates, least)
    unsure = [weight < least for weight in weights[:warm_up]] + ended[warm_up:]
    voters = [place for place, weight in enumerate(weights) if not unsure[place] and weight > -math.inf]
    shares = vote.shares([texts[place] for place in voters], torch.tensor([weights[place] for place in voters]))
    scores = dict.fromkeys(range(len(texts)), 0.0) | dict(zip(voters, shares.tolist(), strict=True))
    order = sorted(scores, key=lambda place: (-scores[place], place not in voters))
    return ConfidentVote(
        tuple(texts[place] for place in order),
        tuple(scores[place] for place in order),
        tuple(weights[place] for place in order),
        tuple(ended[place] for place in order),
        least,
    )


def written(
    model: Any, inputs: Mapping[str, Tensor], tokenizer: Any, stop: ConfidenceStop, width: int, **settings: Any
) -> list[str]:
    """Texts that are sampled under a stop, without what follows their ends."""
    read = {"logits_processor": [*settings.pop("logits_processor", []), stop.recorder]}
    criteria = [*settings.pop("stopping_criteria", []), stop]
    rows = model.generate(**inputs, **read, stopping_criteria=criteria, **{"do_sample": True, **settings})
    rows = rows if isinstance(rows, Tensor) else rows.sequences
    pad = settings.get("pad_token_id", model.generation_config.pad_token_id)
    known = [settings.get("eos_token_id", model.generation_config.eos_token_id), pad]
    ends = [token for each in known for token in (each if isinstance(each, list) else [each]) if token is not None]
    new = [row[: end_of(row, ends)] for row in rows[:, width:].tolist()]
    return list(tokenizer.batch_decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False))
