"""Decoding by layers from scratch: one unpadded row, no cache, hidden states as ``output_hidden_states`` gives them.

Nothing here uses the library. The papers' formulas are written a second time, in double precision and token by token where that
is plainer. ``input_ids`` is ``[1, length]``; what is returned belongs to the token that follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rounding import noted

Model = Any  # called as a transformers model is
Divergence = Callable[[Tensor, Tensor], float]
Scores = Callable[[Tensor], Tensor]
"""From ids ``[1, length]`` to scores ``[vocabulary]`` of the next token."""

FINAL_NORM = {
    **dict.fromkeys(["gpt2", "gpt_neo", "gptj", "codegen", "bloom", "falcon", "gpt_bigcode"], "transformer.ln_f"),
    **dict.fromkeys(["phi", "jamba", "falcon_h1"], "model.final_layernorm"),
    **dict.fromkeys(["mamba", "mamba2"], "backbone.norm_f"),
    "mpt": "transformer.norm_f",
    "gpt_neox": "gpt_neox.final_layer_norm",
    "opt": "model.decoder.final_layer_norm",
    "xglm": "model.layer_norm",
    "biogpt": "biogpt.layer_norm",
    "lfm2": "model.embedding_norm",
    "recurrent_gemma": "model.final_norm",
    "rwkv": "rwkv.ln_out",
}
"""Where an architecture has its final norm, if not at ``model.norm``."""


class Exits(NamedTuple):
    """Logits of the last layer and of early ones, in double precision."""

    final: Tensor
    early: Tensor


def exits(model: Model, input_ids: Tensor, layers: Sequence[int], final_norm: bool = False) -> Exits:
    """What the model says, ``[vocabulary]``, and what it would say if it ended at each of ``layers``."""
    found = _exits(model, tuple(input_ids[0].tolist()), tuple(layers), final_norm)
    noted(found.final, found.early)
    return found


@cache
@torch.no_grad()
def _exits(model: Model, text: tuple[int, ...], layers: tuple[int, ...], final_norm: bool) -> Exits:
    input_ids = torch.tensor([text])
    output = model(input_ids=input_ids, output_hidden_states=True, use_cache=False)
    states = output.hidden_states
    if model.config.model_type in ("mamba", "mamba2", "rwkv"):  # which list what leaves a layer, where others list what enters it
        states = (model.get_input_embeddings()(input_ids), *states)
    early = [early_exit(model, states[layer][0, -1], final_norm) for layer in layers]
    return Exits(output.logits[0, -1].double(), torch.stack(early).double())


def early_exit(model: Model, hidden: Tensor, final_norm: bool) -> Tensor:
    """Logits of a state that enters a layer, as the architecture makes logits of the last one."""
    config = model.config
    norm = attribute(model, FINAL_NORM.get(config.model_type, "model.norm"))
    if final_norm and norm is not None:
        hidden = norm(hidden)
    if config.model_type == "opt" and model.model.decoder.project_out is not None:
        hidden = model.model.decoder.project_out(hidden)
    logits = model.get_output_embeddings()(hidden)
    if config.model_type == "cohere":
        return logits * config.logit_scale
    if config.model_type == "granite":
        return logits / config.logits_scaling
    if config.model_type == "falcon_h1":
        return logits * config.lm_head_multiplier
    if config.model_type == "gemma2":
        return config.final_logit_softcapping * torch.tanh(logits / config.final_logit_softcapping)
    if config.model_type == "recurrent_gemma":
        return config.logits_soft_cap * torch.tanh(logits / config.logits_soft_cap)
    return logits


def attribute(model: Model, path: str) -> Any:
    """The module at a dotted path."""
    return reduce(getattr, path.split("."), model)


def jensen_shannon(p: Tensor, q: Tensor) -> float:
    """KL(p || m) / 2 + KL(q || m) / 2, m = (p + q) / 2, of log-probabilities; early exits can be surer than doubles can say."""
    return sum(_kl(one, _mean(p, q)) for one in (p, q)) / 2


def released_divergence(p: Tensor, q: Tensor) -> float:
    """KL(m || p) / 2 + KL(m || q) / 2, divided by the size of the vocabulary."""
    return sum(_kl(_mean(p, q), one) for one in (p, q)) / 2 / len(p)


def _mean(p: Tensor, q: Tensor) -> Tensor:
    larger, smaller = torch.maximum(p, q), torch.minimum(p, q)
    return larger + ((1 + (smaller - larger).nan_to_num(-torch.inf).exp()) / 2).log()


def _kl(p: Tensor, q: Tensor) -> float:
    return float((p.exp() * (p - q)).nan_to_num(0.0).sum())


def furthest(scores: Tensor, early: Tensor, divergence: Divergence) -> int:
    """Which of the early exits has the largest divergence from ``scores``, the first among equals."""
    distances = [divergence(log_p(scores), log_p(logits, scores)) for logits in early]
    return distances.index(max(distances))


def log_p(logits: Tensor, allowing: Tensor | None = None) -> Tensor:
    """Log-probabilities over the tokens that ``allowing`` does not ban, in double precision."""
    allowed = logits if allowing is None else torch.where(allowing > -torch.inf, logits, -torch.inf)
    return allowed.double().log_softmax(-1)


def plausible(scores: Tensor, alpha: float) -> Tensor:
    """p(v) >= alpha max p."""
    p = log_p(scores).exp()
    return p >= alpha * p.max()


def dola(scores: Tensor, early: Tensor, alpha: float = 0.1, divergence: Divergence = released_divergence) -> Tensor:
    """ln q_N(v) - ln q_M(v) where q_N(v) >= alpha max q_N, else -inf (arXiv 2309.03883, equations 2 to 5)."""
    premature = log_p(early[furthest(scores, early, divergence)], scores)
    kept = plausible(scores, alpha) & (scores > -torch.inf)
    return torch.where(kept, log_p(scores) - premature, -torch.inf)


def sled(
    scores: Tensor,
    final: Tensor,
    early: Tensor,
    rate: float = 2.0,
    scale: int = 10,
    steps: int = 1,
    lower_bound: float = -1000.0,
) -> Tensor:
    """``scores`` of the ``scale`` best tokens moved towards what the layers were heading for (arXiv 2411.02433)."""
    scores, final, early = scores.double(), final.double(), early.double()
    best = [token for token in scores.topk(scale).indices.tolist() if scores[token] > -torch.inf]
    a = torch.zeros(len(early), len(best), dtype=torch.float64)
    for n, z_n in enumerate(early):
        for k, token in enumerate(best):
            gradient = z_n.softmax(-1) - torch.nn.functional.one_hot(torch.tensor(token), len(final))
            a[n, k] = max(0.0, float(torch.cosine_similarity(gradient, z_n - final, dim=0))) ** 2
    shares, latent = a.sum(1) / a.sum(), torch.zeros_like(final)
    for n in range(len(early)):
        if shares[n] > 0:
            latent[best] += shares[n] * a[n] / a[n].sum()
    z = scores
    for step in range(steps):
        z = z - rate * (1 - step / steps) * (z.softmax(-1) - latent)
    found = torch.where(scores > -torch.inf, lower_bound, -torch.inf).double()
    found[best] = z[best]
    return found


class Pair(NamedTuple):
    """Logits of an original and of its amateur, at one layer."""

    original: Tensor
    amateur: Tensor


def fused(
    scores: Tensor,
    negative: Tensor,
    lower: Sequence[Pair],
    weights: Sequence[float],
    guided: Tensor | None = None,
    refocus_weight: float = 0.0,
    alpha: float = 0.1,
) -> Tensor:
    """C_N + sum_l w_l C_l + lambda (ln p(v | guide) - ln p(v)) on the plausible set, C = ln p - ln q of a pair."""
    found = log_p(scores) - log_p(negative, scores)
    for pair, weight in zip(lower, weights, strict=True):
        found = found + weight * (log_p(pair.original, scores) - log_p(pair.amateur, scores))
    if guided is not None:
        found = found + refocus_weight * (log_p(guided, scores) - log_p(scores))
    return torch.where(plausible(scores, alpha) & (scores > -torch.inf), found, -torch.inf)


def decode(scores: Scores, input_ids: Tensor, steps: int) -> tuple[list[int], list[float]]:
    """The best token, ``steps`` times, and its lead over the second each time, to tell near-ties from errors."""
    tokens: list[int] = []
    leads: list[float] = []
    for _ in range(steps):
        found = scores(torch.cat([input_ids, torch.tensor([tokens], dtype=torch.long)], dim=1))
        first, second = found.topk(2).values.tolist()
        tokens.append(int(found.argmax()))
        leads.append(first - second)
    return tokens, leads
