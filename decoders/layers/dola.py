"""DoLa: the last layer's distribution against an early layer's, of the same forward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList
from typing_extensions import override

from counterpoint.decoders.base import ContrastParts, ContrastProcessor, SideOutputs
from counterpoint.decoders.checks import check_logits
from counterpoint.decoders.contrasts.contrastive_decoding import check_alpha
from counterpoint.decoders.contrasts.forms import allowed_by, contrast
from counterpoint.decoders.forwards.exit_tap import ExitTap
from counterpoint.decoders.forwards.layers import EarlyExits, check_layers, depth_of
from counterpoint.decoders.hf.outputs import GenerateDecoderOnlyOutput, GenerateEncoderDecoderOutput
from counterpoint.decoders.hf.steps import GenerativeModel, plain_loop
from counterpoint.decoders.hf.unembedding import is_tied
from counterpoint.decoders.hf.wrappers import Model, plain_model
from counterpoint.decoders.layers.divergence import released_divergence

Divergence = Callable[[Tensor, Tensor], Tensor]
"""``divergence(p, q)`` of log-probabilities ``[..., vocabulary]``."""

Layers = str | Sequence[int]
"""Early exits: "low", "high" or their indices."""


class DoLaLogitsProcessor(ContrastProcessor):
    """Decoding by contrasting layers, for ``model.generate(..., logits_processor=[DoLaLogitsProcessor(model)])``.

    Scores are ln q_N(v) - ln q_M(v) for the tokens v with q_N(v) >= alpha * max_w q_N(w), and -inf for all others. q_N is the
    model's own distribution, q_j = softmax(phi(h_j)) that of an early exit before layer j, and M the candidate layer whose q_j is
    the furthest from q_N, chosen anew for every row and step: Chuang et al., *DoLa: Decoding by Contrasting Layers Improves
    Factuality in Large Language Models* (2024, arXiv 2309.03883), equations 2 to 5. One candidate layer is the static form.

    The hidden states come from the forward that ran anyway; what it adds is an unembedding of each candidate layer. q_N is what the
    processors before this one left; the paper's repetition penalty of 1.2 applies to the contrast, so it goes after this processor:
    ``logits_processor=[DoLaLogitsProcessor(model), RepetitionPenaltyLogitsProcessor(1.2)]``.

    Args:
        model: The decoder-only model that generates.
        layers: "low" or "high", every second layer of the lower or upper half (of 20 layers at most, beginning with 2 where
            embeddings are tied), or the candidates' indices: 0 is the embeddings, N - 1 the state before the last layer. The paper
            takes "high" for short answers (TruthfulQA) and "low" for reasoning.
        alpha: Plausibility constraint in [0, 1]; 0.1 as in the paper.
        divergence: How the layer is chosen: :func:`~counterpoint.decoders.released_divergence`, which every published result and
            transformers 4 were computed with, or :func:`~counterpoint.decoders.jensen_shannon`, which the paper writes.
        final_norm: Whether early states pass the final norm before the unembedding. The released code leaves it out.

    Raises:
        ValueError: For layers beyond the model's depth, alpha out of range, encoder-decoder models and architectures whose early
            exits are out of reach; at the first token, if another model generates.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import DoLaLogitsProcessor
        >>> from counterpoint.eval import EXPERT
        >>> model = AutoModelForCausalLM.from_pretrained(EXPERT)
        >>> inputs = AutoTokenizer.from_pretrained(EXPERT)("The whale rose", return_tensors="pt")
        >>> processor = DoLaLogitsProcessor(model, layers="high")
        >>> ids = model.generate(**inputs, logits_processor=[processor], max_new_tokens=10, do_sample=False)
    """

    def __init__(
        self,
        model: Model,
        *,
        layers: Layers = "high",
        alpha: float = 0.1,
        divergence: Divergence = released_divergence,
        final_norm: bool = False,
    ) -> None:
        check_alpha(alpha)
        model = plain_model(model)
        self.wanted, self.layers = layers, candidate_layers(model, layers)
        self.alpha, self.divergence = alpha, divergence
        self.tap = ExitTap(model, self.layers, EarlyExits(model, final_norm))
        self.taps = (self.tap,)

    @override
    def parts(self, outputs: SideOutputs, scores: Float[Tensor, "positions vocabulary"]) -> ContrastParts:
        check_logits(scores)
        self._check_layers()
        early = outputs.exits(self.tap).to(scores.device)
        distances = divergences(scores, early, self.divergence)
        chosen = distances.argmax(dim=0)
        negative = at_layer(early, chosen)
        found = contrast(scores, negative, alpha=self.alpha).to(scores.dtype)
        choice = {"layer": torch.tensor(self.layers, device=scores.device)[chosen], "divergence": distances.t()}
        return ContrastParts(scores=found, positive=scores, negative=negative, choice=choice)

    def _check_layers(self) -> None:
        """The layers that a name stands for are the same as when this was made."""
        if isinstance(self.wanted, str) and (now := candidate_layers(self.tap.model, self.wanted)) != self.layers:
            raise ValueError(
                f"layers={self.wanted!r} stood for {list(self.layers)} when this processor was made and stands for {list(now)} now "
                "that the embeddings are tied otherwise; make a new DoLaLogitsProcessor"
            )


def dola(
    model: GenerativeModel,
    input_ids: Int[Tensor, "rows length"],
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    **kwargs: Any,
) -> GenerateDecoderOnlyOutput | GenerateEncoderDecoderOutput | Tensor:
    """What ``generate(dola_layers=...)`` was in transformers 4: greedy search or sampling, the contrast before all processors."""
    layers = generation_config.dola_layers
    if not isinstance(layers, str | Sequence):
        raise ValueError(f"dola_layers={layers!r}: 'low', 'high' or a list of layers")
    processors = LogitsProcessorList([DoLaLogitsProcessor(model, layers=layers), *logits_processor])
    return plain_loop(model, input_ids, processors, stopping_criteria, generation_config, **kwargs)


def divergences(
    final: Float[Tensor, "*batch vocabulary"], early: Float[Tensor, "layers *batch vocabulary"], divergence: Divergence
) -> Float[Tensor, "layers *batch"]:
    """For each position divergence(q_N, q_j) of every candidate layer j, over the tokens that ``final`` allows.

    A single candidate is chosen anyway, and its divergence is not computed but given as 0.

    Example:
        >>> import torch
        >>> from counterpoint.decoders import jensen_shannon
        >>> divergences(torch.tensor([2.0, 0.0]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]), jensen_shannon)
        tensor([0.0183, 0.2081])
    """
    if len(early) == 1:
        return final.new_zeros(1, *final.shape[:-1])
    p = final.float().log_softmax(dim=-1)
    # layer by layer, since temporary tensors of all layers would not stay in a CPU's caches
    return torch.stack([divergence(p, allowed_by(final, each).float().log_softmax(dim=-1)) for each in early])


def at_layer(early: Float[Tensor, "layers *batch vocabulary"], chosen: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch vocabulary"]:
    """For each position the logits of the layer that was chosen for it.

    Example:
        >>> import torch
        >>> at_layer(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([1]))
        tensor([[0., 1.]])
    """
    if len(early) == 1:
        return early[0]
    return early.gather(0, chosen[None, ..., None].expand(1, *early.shape[1:]))[0]


def candidate_layers(model: PreTrainedModel, layers: Layers) -> tuple[int, ...]:
    """Early exits that "low" and "high" stand for, as in transformers 4, or those given.

    Example:
        >>> from transformers import AutoModelForCausalLM
        >>> from counterpoint.eval import EXPERT
        >>> candidate_layers(AutoModelForCausalLM.from_pretrained(EXPERT), "high")
        (2,)
    """
    depth = depth_of(model)
    if isinstance(layers, str):
        if layers not in ("low", "high"):
            raise ValueError(f"layers={layers!r}: 'low', 'high' or a list of layers")
        start = (2 if depth > 2 else depth - 1) if is_tied(model) else 0  # tied, the embeddings only predict the token just read
        if depth <= 40:
            layers = range(start, depth // 2, 2) if layers == "low" else range(depth // 2, depth, 2)
        else:
            layers = range(start, 20, 2) if layers == "low" else range(depth - 20, depth, 2)
        layers = layers or [start]
    return check_layers(layers, depth)
