"""SLED: the last layer's logits evolve towards what the layers before it were heading for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from counterpoint.decoders.base import ContrastParts, ContrastProcessor, SideOutputs
from counterpoint.decoders.checks import check_logits
from counterpoint.decoders.forwards.exit_tap import ExitTap
from counterpoint.decoders.forwards.layer_tap import LayerTap
from counterpoint.decoders.forwards.layers import EarlyExits, check_layers, depth_of
from counterpoint.decoders.hf.unembedding import head_width
from counterpoint.decoders.hf.wrappers import Model, plain_model


class SLEDLogitsProcessor(ContrastProcessor):
    """Self logits evolution decoding, for ``model.generate(..., logits_processor=[SLEDLogitsProcessor(model)])``.

    The ``evolution_scale`` likeliest tokens I get the logits that descent from those of the last layer makes of them,

        z <- z - evolution_rate * (1 - t / T) * (softmax(z) - P),    t = 0, ..., T - 1,

    all others ``evolution_lower_bound``. P is the distribution over I that the early exits were heading for,

        P(i) = a_i / sum_j a_j,    a_i = sum_n max(0, cos(p_n - e_i, z_n - z_N))^2,

    z_n the logits of an exit before layer n, z_N those of the last layer, p_n = softmax(z_n) and e_i a one-hot vector: Zhang et
    al., *SLED: Self Logits Evolution Decoding for Improving Factuality in Large Language Models* (2024, arXiv 2411.02433).

    The hidden states come from the forward that ran anyway; what it adds is an unembedding of every layer. The scores that evolve
    are those which the processors before this one left: their bans hold, their penalties count. What the layers say is taken from
    the forward as it was, so that logits and the log-probabilities of beams evolve alike; for beams add
    ``renormalize_logits=True``, which makes them add up log-probabilities again.

    Args:
        model: The decoder-only model that generates.
        evolution_rate: Size of the first step; 2 as released, 0.5 to 3 are recommended there (2.5 for TruthfulQA). 0 is the model
            itself.
        evolution_scale: Number of tokens that evolve; 10 as released, 5 to 20 are recommended (75 for TruthfulQA).
        evolution_steps: Steps T, of size evolution_rate * (1 - t / T). The released code takes 1 in generation and 10 in scoring.
        evolution_lower_bound: Score of all other tokens; -1000 in released generation, -100 and -2500 in its two scoring classes.
        layers: Early exits to learn from; all by default, 0 the embeddings and N - 1 the state before the last layer.
        final_norm: Whether early states pass the final norm before the unembedding. The released code leaves it out.

    The released code's scores of given answers are those of :class:`~counterpoint.decoders.ReleasedSLEDLogitsProcessor`.

    Raises:
        ValueError: For values out of range, layers beyond the model's depth, encoder-decoder models and architectures whose early
            exits are out of reach; at the first token, if another model generates.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import SLEDLogitsProcessor
        >>> from counterpoint.eval import EXPERT
        >>> model = AutoModelForCausalLM.from_pretrained(EXPERT)
        >>> inputs = AutoTokenizer.from_pretrained(EXPERT)("The whale rose", return_tensors="pt")
        >>> processor = SLEDLogitsProcessor(model, evolution_rate=2.0, evolution_scale=10)
        >>> ids = model.generate(**inputs, logits_processor=[processor], max_new_tokens=10, do_sample=False)
    """

    def __init__(
        self,
        model: Model,
        *,
        evolution_rate: float = 2.0,
        evolution_scale: int = 10,
        evolution_steps: int = 1,
        evolution_lower_bound: float = -1000.0,
        layers: Sequence[int] | None = None,
        final_norm: bool = False,
    ) -> None:
        model = plain_model(model)
        depth = depth_of(model)
        check_evolution(evolution_rate, evolution_scale, evolution_steps, head_width(model))
        self.layers = tuple(range(depth)) if layers is None else check_layers(layers, depth)
        self.evolution_rate, self.evolution_scale, self.evolution_steps = evolution_rate, evolution_scale, evolution_steps
        self.evolution_lower_bound = evolution_lower_bound
        self.exits = EarlyExits(model, final_norm)
        self.tap, self.final_tap = ExitTap(model, self.layers, self.exits), LayerTap(model, [depth])
        self.taps = (self.tap, self.final_tap)

    @override
    def parts(self, outputs: SideOutputs, scores: Float[Tensor, "positions vocabulary"]) -> ContrastParts:
        check_logits(scores)
        early = outputs.exits(self.tap).to(scores.device)
        final = outputs.last(self.tap, self.final_tap).to(scores.device)
        settings = self.evolution_rate, self.evolution_scale, self.evolution_steps, self.evolution_lower_bound
        found, aligned = evolve(self.evolving(scores, final), final, early, *settings)
        choice = {"evolved": found > self.evolution_lower_bound, "layer_alignment": aligned.t()}
        return ContrastParts(scores=found.to(scores.dtype), positive=scores, choice=choice)

    def evolving(
        self, scores: Float[Tensor, "positions vocabulary"], final: Float[Tensor, "positions vocabulary"]
    ) -> Float[Tensor, "positions vocabulary"]:
        """What evolves: the scores as the processors before left them."""
        return scores


class Evolution(NamedTuple):
    """Scores after the descent, and how much each layer was heading for the tokens that evolved."""

    scores: Float[Tensor, "*batch vocabulary"]
    alignments: Float[Tensor, "layers *batch"]


def evolve(
    scores: Float[Tensor, "*batch vocabulary"],
    final: Float[Tensor, "*batch vocabulary"],
    early: Float[Tensor, "layers *batch vocabulary"],
    rate: float,
    scale: int,
    steps: int,
    lower_bound: float,
) -> Evolution:
    """The ``scale`` best ``scores`` after descent towards the latent distribution of ``final`` and ``early``, others at the bound.

    Args:
        scores: What evolves: ``final``, or what processors made of it. A score of -inf stays.
        final: Logits z_N of the last layer.
        early: Logits z_n of early exits.
        rate: Size of the first step.
        scale: Number of tokens that evolve.
        steps: Number of steps.
        lower_bound: Score of the others.

    Example:
        >>> import torch
        >>> final, early = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([[2.0, 0.0, 0.0]])
        >>> evolve(final, final, early, rate=2.0, scale=2, steps=1, lower_bound=-torch.inf).scores
        tensor([0.6695, 2.5105,   -inf])
    """
    scores = scores.float()
    kept, candidates = scores.topk(scale, dim=-1)
    aligned = alignments(final, early, candidates).masked_fill(kept == -torch.inf, 0.0)
    support = aligned.sum(dim=0)
    total = support.sum(dim=-1, keepdim=True)
    latent = torch.zeros_like(scores).scatter(-1, candidates, support / total)
    moved = descend(scores, latent, rate, steps).gather(-1, candidates)
    moved = torch.where(total > 0, moved, kept)  # no layer was heading for any of them: nothing to evolve towards
    found = torch.full_like(scores, lower_bound).masked_fill(scores == -torch.inf, -torch.inf).scatter(-1, candidates, moved)
    return Evolution(found, aligned.sum(dim=-1))


def alignments(
    final: Float[Tensor, "*batch vocabulary"],
    early: Float[Tensor, "layers *batch vocabulary"],
    candidates: Int[Tensor, "*batch k"],
) -> Float[Tensor, "layers *batch k"]:
    """How much each layer n was heading for each candidate i: max(0, cos(p_n - e_i, z_n - z_N))^2, which sum to a_i over layers.

    p_n - e_i is the gradient of -ln p_n(i) with respect to the logits z_n of layer n, p_n their softmax and e_i a one-hot vector:
    the better it points from the last layer's logits back to z_n, the more likely it is that i was the aim.

    Example:
        >>> import torch
        >>> final, early = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([[2.0, 0.0, 0.0]])
        >>> alignments(final, early, torch.tensor([0, 1]))  # only token 1 has risen
        tensor([[0.0000, 0.5587]])
    """
    # layer by layer, since temporary tensors of all layers would not stay in a CPU's caches
    return torch.stack([_alignment(final.float(), each.float(), candidates) for each in early])


def _alignment(
    final: Float[Tensor, "*batch vocabulary"], early: Float[Tensor, "*batch vocabulary"], candidates: Int[Tensor, "*batch k"]
) -> Float[Tensor, "*batch k"]:
    change, best = early - final, early.max(dim=-1, keepdim=True).indices
    # with m the best token, p - e_i = r + e_m - e_i and r = p - e_m: no tensor of [k, vocabulary] is needed, and no digit is lost
    # where p is nearly e_m
    r = early.softmax(dim=-1).scatter_(-1, best, 0.0)
    r.scatter_(-1, best, -r.sum(dim=-1, keepdim=True))
    inner = _dot(r, change) + change.gather(-1, best) - change.gather(-1, candidates)
    square = _dot(r, r) + 2 * (r.gather(-1, best) - r.gather(-1, candidates)) + 2 * (candidates != best)
    length = square.clamp(min=0).sqrt() * change.norm(dim=-1, keepdim=True)
    cosine: Tensor = inner / length.clamp(min=torch.finfo(length.dtype).tiny)
    return cosine.clamp(min=0).square()


def _dot(one: Float[Tensor, "*batch vocabulary"], other: Float[Tensor, "*batch vocabulary"]) -> Float[Tensor, "*batch 1"]:
    dot: Tensor = torch.linalg.vecdot(one, other)
    return dot.unsqueeze(-1)


def descend(
    logits: Float[Tensor, "*batch vocabulary"], latent: Float[Tensor, "*batch vocabulary"], rate: float, steps: int
) -> Float[Tensor, "*batch vocabulary"]:
    """Steps z <- z - rate * (1 - t / steps) * (softmax(z) - latent), t from 0 to steps - 1.

    Example:
        >>> import torch
        >>> descend(torch.tensor([0.0, 0.0]), torch.tensor([0.0, 1.0]), rate=2.0, steps=1)
        tensor([-1.,  1.])
    """
    for step in range(steps):
        logits = logits - rate * (1 - step / steps) * (logits.softmax(dim=-1) - latent)
    return logits


def check_evolution(rate: float, scale: int, steps: int, vocabulary: int) -> None:
    """Numbers that an evolution can have."""
    if not 0 <= rate < math.inf:
        raise ValueError(f"evolution_rate={rate!r}: logits evolve by 0 or more, e.g. evolution_rate=2.0")
    if not isinstance(scale, int) or not 1 <= scale <= vocabulary:
        raise ValueError(f"evolution_scale={scale!r}: between 1 and the vocabulary's {vocabulary} tokens evolve, e.g. 10")
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"evolution_steps={steps!r}: at least one step, 1 in generation and 10 in scoring as released")
