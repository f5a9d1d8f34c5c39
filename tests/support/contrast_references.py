"""Contrastive decoding and its kin from scratch: probabilities in double precision, one unpadded row, a full forward each time.

Nothing here uses the library; the formulas are the papers', written with probabilities where the library has logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

Model = Any  # called as a transformers model is
Form = Callable[[Tensor, Tensor], Tensor]
"""Scores of the next token from the probabilities ``p`` to follow and ``q`` to stay away from, both ``[vocabulary]``."""


def logits_after(model: Model, text: Tensor) -> Tensor:
    """Logits ``[vocabulary]`` after a text ``[length]``."""
    return _logits(model, tuple(text.tolist()))


def decoder_logits_after(model: Model, encoder_text: Tensor, text: Tensor) -> Tensor:
    """Logits ``[vocabulary]`` after the decoder's ``text`` beside that of the encoder."""
    return _logits(model, tuple(text.tolist()), tuple(encoder_text.tolist()))


@cache
def _logits(model: Model, text: tuple[int, ...], encoder_text: tuple[int, ...] = ()) -> Tensor:
    ids = torch.tensor([text])
    inputs = {"input_ids": torch.tensor([encoder_text]), "decoder_input_ids": ids} if encoder_text else {"input_ids": ids}
    with torch.no_grad():
        logits: Tensor = model(**inputs, use_cache=False).logits[0, -1]
    return logits


def contrast(scores: Tensor, negative: Tensor, form: Form, alpha: float) -> Tensor:
    """The form's scores where p(v) >= alpha max p, -inf elsewhere; q is that over the tokens that ``scores`` allow.

    ``scores`` are logits or log-probabilities, -inf where a token is banned; ``negative`` are logits.
    """
    allowed = scores > -math.inf
    p, q = probabilities(scores, allowed), probabilities(negative, allowed)
    plausible = allowed & (p >= alpha * p.max())
    found = torch.full_like(p, -math.inf)
    found[plausible] = form(p, q)[plausible]
    return found


def probabilities(logits: Tensor, allowed: Tensor) -> Tensor:
    """The distribution over the allowed tokens, 0 for the others."""
    weights = torch.where(allowed, (logits.double() - logits[allowed].double().max()).exp(), 0.0)
    return weights / weights.sum()


def ratio(temperature: float = 1.0) -> Form:
    """The form ln(p / q'), q' proportional to q^(1 / temperature): Li et al., arXiv 2210.15097, equation 3."""

    def form(p: Tensor, q: Tensor) -> Tensor:
        cooled = q ** (1 / temperature)
        return (p / (cooled / cooled.sum())).log()

    return form


def released_ratio(temperature: float = 0.5, coefficient: float = 1.0) -> Form:
    """The form ln p - coefficient ln(q) / temperature, nothing normalised again: Li et al.'s code."""
    return lambda p, q: (p / q ** (coefficient / temperature)).log()


def power(beta: float = 0.5) -> Form:
    """The form ln(p (p / q)^beta): O'Brien and Lewis, arXiv 2309.09117; Shi et al., arXiv 2305.14739."""
    return lambda p, q: (p * (p / q) ** beta).log()


def entropy_power() -> Form:
    """The form ln(p (p / q)^H(p)), H in nats: Gema et al., arXiv 2410.18860."""
    return lambda p, q: power(-sum(each * math.log(each) for each in p.tolist() if each > 0))(p, q)


def weighted_ratio(beta: float = 1.0) -> Form:
    """The form ln(p^beta / q): Zhang et al., arXiv 2312.15710."""
    return lambda p, q: (p**beta / q).log()


def normalised_ratio() -> Form:
    """The form ln (r / sum r), r = p / q over all tokens that are allowed: what the released scoring codes call post_softmax."""

    def form(p: Tensor, q: Tensor) -> Tensor:
        r = torch.where(p > 0, p / q, 0.0)
        return (r / r.sum()).log()

    return form


def released_gain() -> Form:
    """The form p + max(0, p - q): greedy generation in Zhang et al.'s code."""
    return lambda p, q: p + (p - q).clamp(min=0)


def pool(parts: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Logarithms of prod_i p_i(v)^w_i, from logits."""
    product = torch.ones_like(parts[0], dtype=torch.float64)
    for logits, weight in zip(parts, weights, strict=True):
        product *= logits.double().softmax(-1) ** weight
    return product.log()
