"""The arithmetic of contrast: a plausible set, and the forms in which a positive distribution is set against a negative one.

Every function takes logits ``[..., vocabulary]``, normalised or not, and computes in float32. ``positive`` is the distribution to
follow (the expert, the last layer, the prompt with its context), ``negative`` the one to stay away from (the amateur, an early
layer, the prompt without context).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Form = Callable[[Tensor, Tensor], Tensor]
"""A form of contrast: ``form(positive, negative)`` gives scores of the same shape; bind its settings by ``functools.partial``."""


def plausible(logits: Float[Tensor, "*batch vocabulary"], *, alpha: float) -> Bool[Tensor, "*batch vocabulary"]:
    """The set V_head(alpha) = {v : p(v) >= alpha * max_w p(w)} (Li et al. 2022, arXiv 2210.15097, section 3.3).

    ``alpha`` lies in [0, 1]: 0 keeps every token, 1 the most probable one (and its equals). The papers on contrastive decoding
    and DoLa use 0.1.

    Example:
        >>> import torch
        >>> plausible(torch.tensor([0.6, 0.3, 0.1]).log(), alpha=0.4)
        tensor([ True,  True, False])
    """
    logits = logits.float()
    threshold = logits.amax(dim=-1, keepdim=True) + (math.log(alpha) if alpha > 0 else -math.inf)
    return logits >= threshold


def likelihood_ratio(
    positive: Float[Tensor, "*batch vocabulary"],
    negative: Float[Tensor, "*batch vocabulary"],
    *,
    amateur_temperature: float = 1.0,
) -> Float[Tensor, "*batch vocabulary"]:
    """The form ln p(v) - ln q(v), q = softmax(negative / amateur_temperature) (Li et al. 2022, arXiv 2210.15097, equation 3).

    Without a temperature this is also the contrast of DoLa (arXiv 2309.03883) and of induce-then-contrast (arXiv 2312.15710).

    Example:
        >>> import torch
        >>> likelihood_ratio(torch.tensor([0.8, 0.2]).log(), torch.tensor([0.5, 0.5]).log())
        tensor([ 0.4700, -0.9163])
    """
    return positive.float().log_softmax(dim=-1) - (negative.float() / amateur_temperature).log_softmax(dim=-1)


def released_likelihood_ratio(
    positive: Float[Tensor, "*batch vocabulary"],
    negative: Float[Tensor, "*batch vocabulary"],
    *,
    amateur_temperature: float = 0.5,
    coefficient: float = 1.0,
) -> Float[Tensor, "*batch vocabulary"]:
    """The form ln p(v) - coefficient * ln q(v) / amateur_temperature, as Li et al.'s released code computes it.

    There the temperature divides log-probabilities and nothing is normalised again. 0.5 goes with GPT-2 as the amateur; released
    runs have coefficients of 0.8 and 1.

    Example:
        >>> import torch
        >>> released_likelihood_ratio(torch.tensor([0.8, 0.2]).log(), torch.tensor([0.5, 0.5]).log())
        tensor([ 1.1632, -0.2231])
    """
    return positive.float().log_softmax(dim=-1) - coefficient / amateur_temperature * negative.float().log_softmax(dim=-1)


def released_normalised_ratio(
    positive: Float[Tensor, "*batch vocabulary"], negative: Float[Tensor, "*batch vocabulary"]
) -> Float[Tensor, "*batch vocabulary"]:
    """The form ln softmax_v(ln p(v) - ln q(v)), normalised over the whole vocabulary, before :func:`contrast` masks it.

    So do the released scoring codes of DoLa (arXiv 2309.03883), induce-then-contrast (arXiv 2312.15710) and SLED (arXiv 2411.02433)
    with ``post_softmax``: what is not plausible keeps its share of the probability, and is then given a score of -1000. That is
    ``score(..., renormalise=False, banned=-1000.0)`` with this form. With ``renormalise=True`` and :func:`likelihood_ratio` the
    plausible tokens alone share the probability, as in generation. Where ``alpha`` is 0 the two are the same.

    Example:
        >>> import torch
        >>> released_normalised_ratio(torch.tensor([0.8, 0.2]).log(), torch.tensor([0.5, 0.5]).log()).exp()
        tensor([0.8000, 0.2000])
    """
    allowed = (positive > -torch.inf) & (negative > -torch.inf)
    return likelihood_ratio(positive, negative).masked_fill(~allowed, -torch.inf).log_softmax(dim=-1)


def extrapolation(
    positive: Float[Tensor, "*batch vocabulary"], negative: Float[Tensor, "*batch vocabulary"], *, beta: float = 0.5
) -> Float[Tensor, "*batch vocabulary"]:
    """The form (1 + beta) * ln p(v) - beta * ln q(v) (O'Brien and Lewis 2023, arXiv 2309.09117; beta 0.5 is theirs).

    Context-aware decoding (Shi et al. 2023, arXiv 2305.14739) is the same form, its alpha in the place of beta. Both papers write
    it with raw logits; log-probabilities differ by a constant per position, which neither argmax nor softmax sees, and are what
    beams can add up. 0 is the expert itself.

    Example:
        >>> import torch
        >>> extrapolation(torch.tensor([0.8, 0.2]).log(), torch.tensor([0.5, 0.5]).log()).softmax(dim=-1)
        tensor([0.8889, 0.1111])
    """
    return (1 + beta) * positive.float().log_softmax(dim=-1) - beta * negative.float().log_softmax(dim=-1)


def log_ratio(
    positive: Float[Tensor, "*batch vocabulary"], negative: Float[Tensor, "*batch vocabulary"], *, beta: float = 1.0
) -> Float[Tensor, "*batch vocabulary"]:
    """The form beta * ln p(v) - ln q(v) of induce-then-contrast (Zhang et al. 2023, arXiv 2312.15710; released with beta 1).

    Example:
        >>> import torch
        >>> log_ratio(torch.tensor([0.8, 0.2]).log(), torch.tensor([0.5, 0.5]).log(), beta=2.0)
        tensor([ 0.2469, -2.5257])
    """
    return beta * positive.float().log_softmax(dim=-1) - negative.float().log_softmax(dim=-1)


def released_induce_then_contrast(
    positive: Float[Tensor, "*batch vocabulary"], negative: Float[Tensor, "*batch vocabulary"]
) -> Float[Tensor, "*batch vocabulary"]:
    """The form p(v) + max(0, p(v) - q(v)): greedy generation in the released code of arXiv 2312.15710.

    It contrasts probabilities, not their logarithms, and leaves every token plausible: combine it with ``alpha=0``.

    Example:
        >>> import torch
        >>> released_induce_then_contrast(torch.tensor([0.8, 0.2]).log(), torch.tensor([0.5, 0.5]).log())
        tensor([1.1000, 0.2000])
    """
    p, q = positive.float().softmax(dim=-1), negative.float().softmax(dim=-1)
    return p + (p - q).relu()


def contrast(
    positive: Float[Tensor, "*batch vocabulary"],
    negative: Float[Tensor, "*batch vocabulary"],
    *,
    form: Form = likelihood_ratio,
    alpha: float = 0.1,
) -> Float[Tensor, "*batch vocabulary"]:
    """The scores form(positive, negative) on the plausible set V_head(alpha) of ``positive``, and -inf outside it.

    Both distributions are those over the tokens that ``positive`` allows: where other processors have banned or forced tokens by
    -inf, the amateur is asked about the rest. A token that the amateur excludes by -inf is banned too.

    Example:
        >>> import torch
        >>> positive, negative = torch.tensor([0.6, 0.39, 0.01]).log(), torch.tensor([0.7, 0.2, 0.1]).log()
        >>> contrast(positive, negative)
        tensor([-0.1542,  0.6678,    -inf])
    """
    negative = allowed_by(positive, negative)
    kept = plausible(positive, alpha=alpha) & (negative > -torch.inf)
    return form(positive, negative).masked_fill(~kept, -torch.inf)


def allowed_by(
    positive: Float[Tensor, "... vocabulary"], logits: Float[Tensor, "*batch vocabulary"]
) -> Float[Tensor, "*batch vocabulary"]:
    """``logits`` without the tokens that are banned in ``positive``, which may lack their leading dimensions (layers, say).

    Both are numbers or -inf.

    Example:
        >>> import torch
        >>> allowed_by(torch.tensor([0.0, -torch.inf]), torch.tensor([1.0, 2.0]))
        tensor([1., -inf])
    """
    bans = positive - positive.clamp(min=torch.finfo(positive.dtype).min)  # 0 and -inf; a comparison takes several times as long
    return logits + bans
