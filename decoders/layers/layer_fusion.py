"""LOL: the contrast of original and amateur at the last and at lower layers, refocused by a guided prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from counterpoint.decoders.amateurs.adapters import AdapterAmateur
from counterpoint.decoders.amateurs.models import Amateur, ModelAmateur
from counterpoint.decoders.amateurs.vocabulary import aligned
from counterpoint.decoders.base import ContrastParts, ContrastProcessor, SideOutputs
from counterpoint.decoders.checks import check_logits
from counterpoint.decoders.contrasts.contrastive_decoding import as_amateur, check_alpha, checked_logits
from counterpoint.decoders.contrasts.forms import Form, allowed_by, likelihood_ratio, plausible
from counterpoint.decoders.forwards.exit_tap import ExitTap
from counterpoint.decoders.forwards.layers import EarlyExits, check_layers, depth_of
from counterpoint.decoders.hf.wrappers import Model, plain_model
from counterpoint.decoders.layers.dola import Divergence, divergences


class LayerLogits(NamedTuple):
    """What a fusion is made of: logits at the last and at lower layers, over the tokens that the original's last layer allows."""

    original: Float[Tensor, "*batch vocabulary"]
    amateur: Float[Tensor, "*batch vocabulary"]
    lower: Float[Tensor, "layers *batch vocabulary"]
    """The original's early exits."""
    amateur_lower: Float[Tensor, "layers *batch vocabulary"]
    guided: Float[Tensor, "*batch vocabulary"] | None
    """The original's last layer under the guided prompt."""


Fusion = Callable[[LayerLogits, Tensor, Form, float], Tensor]
"""``fusion(logits, weights, form, refocus_weight)`` gives scores ``[..., vocabulary]``; ``weights`` are ``[layers, ...]``."""


def fused_contrast(
    logits: LayerLogits, weights: Float[Tensor, "layers *batch"], form: Form, refocus_weight: float
) -> Float[Tensor, "*batch vocabulary"]:
    """The fusion C_N + sum_l w_l * C_l + refocus_weight * (ln p(v | guide) - ln p(v)), C = form(original, amateur) at a layer.

    Example:
        >>> import torch
        >>> from counterpoint.decoders import likelihood_ratio
        >>> even, sure, unsure = (torch.tensor(p).log() for p in ([0.5, 0.5], [0.9, 0.1], [0.6, 0.4]))
        >>> logits = LayerLogits(sure, even, unsure[None], even[None], guided=None)
        >>> fused_contrast(logits, torch.tensor([2.0]), likelihood_ratio, 0.0)  # ln 0.9 / 0.5 + 2 ln 0.6 / 0.5, ...
        tensor([ 0.9524, -2.0557])
    """
    lower = form(logits.lower, logits.amateur_lower)
    fused = form(logits.original, logits.amateur) + (weights.unsqueeze(-1) * lower).sum(dim=0)
    if logits.guided is not None:
        fused = fused + refocus_weight * likelihood_ratio(logits.guided, logits.original)
    return fused


class LayerFusionLogitsProcessor(ContrastProcessor):
    """Multi-layer fusion with truthfulness refocused, for ``model.generate(..., logits_processor=[this])``.

    Scores, on the tokens that are plausible by the original's last layer (-inf elsewhere), are

        C_N + sum_l w_l C_l + refocus_weight * (ln p(v | guide, x) - ln p(v | x)),

    C_N = form(p, q) the contrast of original p and hallucinating amateur q at their last layers, C_l the same contrast of their
    early exits at layer l, and the last term what a truthfulness instruction before the prompt changes.

    This is **this project's reading** of *Lower Layer Matters: Alleviating Hallucination via Multi-Layer Fusion Contrastive
    Decoding with Truthfulness Refocused* (2024, arXiv 2408.08769). Known from its abstracts is that original and amateur are
    contrasted at the last and at lower layers, that these are fused, and that guidance, by context in the first version and by an
    instruction in the second, refocuses truthfulness. Not public when this was written: the formula of the fusion, its weights,
    the layers, the instruction and how its logits enter. So all of these are arguments, their defaults are ours, and no published
    figure was reproduced with them. Another formula is another ``fusion``: a function of the same logits.

    Known methods are special cases. Both weights 0: induce-then-contrast (Zhang et al. 2023, arXiv 2312.15710). One layer l with
    weight -1: DoLa's contrast (arXiv 2309.03883) of the original at l, less that of the amateur.

    The original's early exits come from the forward that ran anyway, the amateur's from its own; ``guide`` is one more forward.

    Args:
        model: The decoder-only model that generates, the original.
        amateur: A model with its vocabulary, or a :class:`~counterpoint.decoders.ModelAmateur` such as an
            :class:`~counterpoint.decoders.AdapterAmateur`, which ``counterpoint induce`` trains.
        layers: Early exits l of the original; 0 is the embeddings, N - 1 the state before the last layer.
        fusion_weight: w, divided evenly among ``layers``, or one weight w_l for each.
        guide: The original under the guided prompt, a :class:`~counterpoint.decoders.PromptAmateur`; needed for refocusing.
        refocus_weight: Weight of the refocusing term.
        alpha: Plausibility constraint in [0, 1]; 0.1, and 0 in the released scoring code of induce-then-contrast.
        form: The form of contrast, at every layer.
        amateur_layers: The amateur's early exits that go with ``layers``; at the same relative depth by default, which is the same
            index if both are equally deep.
        divergence: If given, only one of the layers counts at each row and step, with its own weight (all of w if that is a
            number): the one whose exit in the original is the furthest from its last layer by this divergence, as in DoLa.
        final_norm: Whether early states pass the final norm; left out, as in DoLa's released code, by default.
        fusion: How the logits of all layers become scores.

    Raises:
        ValueError: For layers beyond a model's depth, another number of weights or amateur layers, values out of range,
            ``refocus_weight`` without ``guide``, an amateur without layers; at the first token, for different vocabularies or if
            another model generates.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import LayerFusionLogitsProcessor, PromptAmateur
        >>> from counterpoint.eval import AMATEUR, EXPERT
        >>> model, amateur = (AutoModelForCausalLM.from_pretrained(path) for path in (EXPERT, AMATEUR))
        >>> tokenizer = AutoTokenizer.from_pretrained(EXPERT)
        >>> guide = PromptAmateur(model, tokenizer("Tell the truth. The whale rose", return_tensors="pt"))
        >>> processor = LayerFusionLogitsProcessor(model, amateur, layers=[2], guide=guide, refocus_weight=0.5)
        >>> ids = model.generate(
        ...     **tokenizer("The whale rose", return_tensors="pt"), logits_processor=[processor], max_new_tokens=10, do_sample=False
        ... )
    """

    def __init__(
        self,
        model: Model,
        amateur: Amateur | Model,
        *,
        layers: Sequence[int],
        fusion_weight: float | Sequence[float] = 0.5,
        guide: Amateur | None = None,
        refocus_weight: float = 0.0,
        alpha: float = 0.1,
        form: Form = likelihood_ratio,
        amateur_layers: Sequence[int] | None = None,
        divergence: Divergence | None = None,
        final_norm: bool = False,
        fusion: Fusion = fused_contrast,
    ) -> None:
        check_alpha(alpha)
        if refocus_weight and guide is None:
            raise ValueError(f"refocus_weight={refocus_weight!r} needs guide=PromptAmateur(model, guided_prompts)")
        model = plain_model(model)
        self.layers = check_layers(layers, depth_of(model))
        self.amateur = with_layers(amateur)
        self.amateur_layers = layer_pairs(self.layers, depth_of(model), depth_of(self.amateur.model), amateur_layers)
        self.weights = layer_weights(fusion_weight, len(self.layers), shared=divergence is None)
        self.guide, self.refocus_weight = guide, refocus_weight
        self.alpha, self.form, self.divergence, self.fusion = alpha, form, divergence, fusion
        self.tap = ExitTap(model, self.layers, EarlyExits(model, final_norm))
        amateur_exits = EarlyExits(self.amateur.model, final_norm)
        self.amateur_tap = ExitTap(self.amateur.model, self.amateur_layers, amateur_exits, owner=self.amateur)
        self.taps = (self.tap, self.amateur_tap)

    @override
    def parts(self, outputs: SideOutputs, scores: Float[Tensor, "positions vocabulary"]) -> ContrastParts:
        check_logits(scores)
        early = outputs.exits(self.tap).to(scores.device)
        logits = LayerLogits(
            scores,
            allowed_by(scores, checked_logits(self.amateur, outputs, scores)),
            allowed_by(scores, early),
            allowed_by(scores, self._amateur_exits(outputs, scores)),
            allowed_by(scores, checked_logits(self.guide, outputs, scores)) if self.guide and self.refocus_weight else None,
        )
        weights = self._weights(scores, early)
        fused = self.fusion(logits, weights, self.form, self.refocus_weight)
        kept = plausible(scores, alpha=self.alpha) & (logits.amateur > -torch.inf)
        found = fused.masked_fill(~kept, -torch.inf).to(scores.dtype)
        return ContrastParts(scores=found, positive=scores, negative=logits.amateur, choice={"fusion_weights": weights.t()})

    def _amateur_exits(self, outputs: SideOutputs, scores: Tensor) -> Float[Tensor, "layers positions vocabulary"]:
        """The amateur's early exits, from the forward that gave its logits."""
        logits = outputs.exits(self.amateur_tap).to(scores.device)
        return aligned(logits, scores.shape[-1], self.amateur.known_tokens)

    def _weights(self, scores: Tensor, early: Tensor) -> Float[Tensor, "layers rows"]:
        """w_l of every row: those given, or only that of the layer furthest from the last."""
        weights = torch.tensor(self.weights, device=scores.device)[:, None].expand(-1, len(scores))
        if self.divergence is None:
            return weights
        chosen = divergences(scores, early, self.divergence).argmax(dim=0)
        return weights * nn.functional.one_hot(chosen, len(early)).t()


def with_layers(amateur: Amateur | Model) -> ModelAmateur:
    """An amateur whose early exits can be read."""
    found = as_amateur(amateur)
    if not isinstance(found, ModelAmateur):
        raise ValueError(f"amateur={type(amateur).__name__} has no layers of its own; give a model, ModelAmateur or AdapterAmateur")
    if isinstance(found, AdapterAmateur) and found.model.get_output_embeddings() in found.tuned:
        raise ValueError(f"adapter={found.adapter!r} changes the output embedding, by which early exits of both sides are read")
    return found


def layer_weights(fusion_weight: float | Sequence[float], layers: int, shared: bool) -> list[float]:
    """One weight per layer; a single number is divided among them where all count at once (``shared``)."""
    if isinstance(fusion_weight, Sequence):
        if len(fusion_weight) != layers:
            raise ValueError(f"fusion_weight has {len(fusion_weight)} weights for {layers} layers; give one each, or a number")
        return list(fusion_weight)
    return [fusion_weight / layers if shared else fusion_weight] * layers


def layer_pairs(layers: Sequence[int], depth: int, amateur_depth: int, given: Sequence[int] | None) -> tuple[int, ...]:
    """The amateur's layer for each of the original's: as given, or at the same relative depth.

    Example:
        >>> layer_pairs((2, 8, 15), depth=16, amateur_depth=4, given=None)
        (0, 2, 3)
    """
    if given is None:
        return tuple(min(round(layer * amateur_depth / depth), amateur_depth - 1) for layer in layers)
    if len(given) != len(layers):
        raise ValueError(f"amateur_layers={list(given)!r}: give one for each of layers={list(layers)!r}")
    check_layers(given, amateur_depth)
    return tuple(given)
