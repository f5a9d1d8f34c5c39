"""Decoding from scratch: one unpadded row, no cache, a full forward for every candidate; slow, and plain to check by eye.

Nothing here uses the library. ``input_ids`` is ``[1, length]``, the encoder's input for encoder-decoder models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

Model = Any  # called as a transformers model is
Processor = Callable[[Tensor, Tensor], Tensor]
Penalty = Callable[[Tensor, Tensor], Tensor]
Confidence = Callable[[Tensor], Tensor]


class Continuation(NamedTuple):
    """New tokens, and per step how far the choice was from another one, to tell near-ties from errors.

    ``margins``: score of the best candidate less that of the second (inf if there is none). ``edges``: logit of the last
    candidate less that of the best token left out. ``roundings``: how far sigma is from where k or alpha would round otherwise,
    inf where neither is rounded. ``ks`` and ``alphas``: what was used.
    """

    tokens: list[int]
    margins: list[float]
    edges: list[float]
    roundings: list[float]
    ks: list[int]
    alphas: list[float]


def forward(model: Model, input_ids: Tensor, new: list[int]) -> tuple[Tensor, Tensor]:
    """Logits [vocabulary] after the text, and last hidden states [positions, hidden] of all its (decoder's) tokens."""
    if model.config.is_encoder_decoder:
        decoder_ids = torch.tensor([[model.config.decoder_start_token_id, *new]])
        output = model(input_ids=input_ids, decoder_input_ids=decoder_ids, output_hidden_states=True, use_cache=False)
        return output.logits[0, -1].float(), output.decoder_hidden_states[-1][0]
    ids = torch.cat([input_ids, torch.tensor([new], dtype=torch.long)], dim=1)
    output = model(input_ids=ids, output_hidden_states=True, use_cache=False)
    return output.logits[0, -1].float(), output.hidden_states[-1][0]


def processed(model: Model, input_ids: Tensor, new: list[int], logits: Tensor, processors: Iterable[Processor] | None) -> Tensor:
    """``logits`` after the processors, which see the ids of the text that is being written."""
    start = torch.tensor([[model.config.decoder_start_token_id]]) if model.config.is_encoder_decoder else input_ids
    ids = torch.cat([start, torch.tensor([new], dtype=torch.long)], dim=1)
    for processor in processors or []:
        logits = processor(ids, logits[None].clone())[0]
    return logits


def greedy(
    model: Model, input_ids: Tensor, steps: int, processors: Iterable[Processor] | None = None, eos: int | None = None
) -> list[int]:
    """The most probable token, ``steps`` times or until ``eos``."""
    new: list[int] = []
    while len(new) < steps and (not new or new[-1] != eos):
        logits, _ = forward(model, input_ids, new)
        new.append(int(processed(model, input_ids, new, logits, processors).argmax()))
    return new


def largest_cosine(candidate: Tensor, context: Tensor) -> Tensor:
    """max_j cos(h_v, h_{x_j})."""
    return cosine_similarity(candidate[None], context, dim=-1).max()


def probability(logits: Tensor) -> Tensor:
    """p(v | x), over the whole vocabulary."""
    return logits.softmax(dim=-1)


def contrastive_search(
    model: Model,
    input_ids: Tensor,
    penalty_alpha: float,
    top_k: int,
    steps: int,
    processors: Iterable[Processor] | None = None,
    eos: int | None = None,
    penalty: Penalty = largest_cosine,
    confidence: Confidence = probability,
) -> Continuation:
    """The best (1 - alpha) p(v) - alpha max_j cos(h_v, h_{x_j}) among the ``top_k`` likeliest v (arXiv 2202.06417, equation 5).

    ``penalty`` and ``confidence`` are there to be replaced by wrong ones. A token of logit -inf is no candidate.
    """

    def rule(logits: Tensor) -> tuple[int, float, float]:
        return top_k, penalty_alpha, math.inf

    return _search(model, input_ids, rule, steps, processors, eos, penalty, confidence)


def adaptive_contrastive_search(
    model: Model,
    input_ids: Tensor,
    steps: int,
    entropy_scale: float = 1.0,
    processors: Iterable[Processor] | None = None,
    eos: int | None = None,
) -> Continuation:
    """K and alpha from the entropies of p and of its renormalised k best, against the medians so far (arXiv 2407.18698)."""
    entropies: list[float] = []
    candidate_entropies: list[float] = []

    def rule(logits: Tensor) -> tuple[int, float, float]:
        p = sorted(logits.double().softmax(dim=-1).tolist(), reverse=True)
        width = 10 * sigma(_entropy(p), entropies, math.log(len(p)), entropy_scale) + 5
        k = round(width)
        best = [value / sum(p[:k]) for value in p[:k]]
        weight = 100 * sigma(_entropy(best), candidate_entropies, math.log(k), entropy_scale)
        boundary = min(abs(width % 1 - 0.5) / 10, abs(weight % 1 - 0.5) / 100)
        return k, round(weight) / 100, boundary

    return _search(model, input_ids, rule, steps, processors, eos, largest_cosine, probability)


def sigma(now: float, history: list[float], largest: float, scale: float) -> float:
    """The value r / (1 + r) of r = ((1 + d) / (1 - d))^(q/2), d = (H_t - median(H_<t)) / H_max, and 0 at first; adds H_t.

    A history of wider candidate sets can put d beyond -1 or 1, where the formula has no value: there it keeps its limit.
    """
    d = (now - median(history)) / largest if history else 0.0
    history.append(now)
    if abs(d) >= 1:
        return float(d > 0)
    ratio = math.exp(scale / 2 * (math.log1p(d) - math.log1p(-d)))
    return ratio / (1 + ratio)


def _entropy(p: list[float]) -> float:
    return -sum(value * math.log(value) for value in p if value > 0)


def _search(
    model: Model,
    input_ids: Tensor,
    rule: Callable[[Tensor], tuple[int, float, float]],
    steps: int,
    processors: Iterable[Processor] | None,
    eos: int | None,
    penalty: Penalty,
    confidence: Confidence,
) -> Continuation:
    result = Continuation([], [], [], [], [], [])
    while len(result.tokens) < steps and (not result.tokens or result.tokens[-1] != eos):
        new = result.tokens
        logits, context = forward(model, input_ids, new)
        logits = processed(model, input_ids, new, logits, processors)
        k, alpha, boundary = rule(logits)
        ranked = logits.sort(descending=True, stable=True)
        candidates = [int(v) for v in ranked.indices[:k] if logits[v] > -math.inf]
        p = confidence(logits)
        scores = []
        for v in candidates:
            _, hidden = forward(model, input_ids, [*new, v])
            scores.append(float((1 - alpha) * p[v] - alpha * penalty(hidden[-1], context)))
        best, *others = sorted(scores, reverse=True)
        left_out = float(ranked.values[k]) if k < len(logits) else -math.inf
        result.margins.append(best - others[0] if others else math.inf)
        result.edges.append(float(ranked.values[len(candidates) - 1]) - left_out)
        result.roundings.append(boundary)
        result.ks.append(k)
        result.alphas.append(alpha)
        result.tokens.append(candidates[scores.index(best)])  # the first of equals
    return result
