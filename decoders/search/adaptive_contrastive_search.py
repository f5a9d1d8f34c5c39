"""Adaptive contrastive search: k and alpha follow the model's uncertainty.

Garces Arias et al., *Adaptive Contrastive Search: Uncertainty-Guided Decoding for Open-Ended Text Generation* (Findings of EMNLP
2024, arXiv 2407.18698).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

from counterpoint.decoders.checks import check_rule
from counterpoint.decoders.forwards.tree_support import Method
from counterpoint.decoders.hf.outputs import GenerateDecoderOnlyOutput, GenerateEncoderDecoderOutput, Streamer
from counterpoint.decoders.hf.unembedding import head_width
from counterpoint.decoders.search.contrastive_search_loop import Sampling, search

FEWEST, MOST = 5, 15


def adaptive_contrastive_search(
    model: PreTrainedModel,
    input_ids: Int[Tensor, "rows length"],
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    *,
    entropy_scale: float = 1.0,
    candidates: Method = "auto",
    streamer: Streamer | None = None,
    synced_gpus: bool = False,
    **model_kwargs: Any,
) -> GenerateDecoderOnlyOutput | GenerateEncoderDecoderOutput | Tensor:
    """Contrastive search with k and alpha of its own each step, for ``generate(custom_generate=adaptive_contrastive_search)``.

    With H_t the entropy of p (natural logarithm), d_t = (H_t - median(H_<t)) / ln|V|, zero at the first step, and
    sigma(d) = ((1 + d) / (1 - d))^(q/2) / (1 + ((1 + d) / (1 - d))^(q/2)):

        k_t = round(10 sigma(d_t) + 5), between 5 and 15;
        alpha_t = sigma(d'_t) rounded to two decimals, d'_t like d_t for p renormalised over the k_t best tokens and ln k_t.

    The histories of entropies belong to one sequence and start empty with every ``generate`` (the released code shares them
    between prompts). ``penalty_alpha`` and ``top_k`` are not used; a batch runs as many candidates as its most uncertain row.

    Args:
        model: Any model with ``generate``, decoder-only or encoder-decoder.
        input_ids: Prompts, padded on the left.
        logits_processor: Applied to the logits before candidates are taken, as in greedy search.
        stopping_criteria: As in greedy search.
        generation_config: Its warpers and processors apply; sampling does not.
        entropy_scale: q > 0, how sharply k and alpha answer to the entropy (1 in the released configuration, 8 in its example).
        candidates: How candidates are computed, as in :func:`~counterpoint.decoders.contrastive_search`.
        streamer: Receives every token as it is chosen.
        synced_gpus: Keep stepping until every process has finished.
        **model_kwargs: The rest of what ``generate`` prepared.

    Returns:
        What ``generate`` returns.

    Raises:
        ValueError: For ``entropy_scale <= 0``, ``do_sample=True``, and as contrastive search does.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import adaptive_contrastive_search
        >>> from counterpoint.eval import AMATEUR
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
        >>> inputs = tokenizer("The whale rose", return_tensors="pt")
        >>> ids = model.generate(**inputs, custom_generate=adaptive_contrastive_search, max_new_tokens=20, do_sample=False)
        >>> list(ids.shape) == [1, inputs.input_ids.shape[1] + 20]
        True
    """
    if not entropy_scale > 0 or math.isinf(entropy_scale):
        raise ValueError(f"entropy_scale={entropy_scale!r}: adaptive contrastive search needs a number above 0, e.g. 1.0")
    if generation_config.do_sample:
        raise ValueError("do_sample=True: adaptive contrastive search does not sample; pass do_sample=False")
    check_rule(0.0, MOST, head_width(model))
    return search(
        model,
        input_ids,
        EntropyRule(entropy_scale),
        MOST,
        logits_processor,
        stopping_criteria,
        generation_config,
        candidates,
        Sampling(0, 0.0),
        streamer,
        synced_gpus,
        model_kwargs,
    )


class EntropyRule:
    """The rule that gives every row its k and alpha from the entropies of its text so far."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.vocabulary_entropies: list[Tensor] = []
        self.candidate_entropies: list[Tensor] = []

    def __call__(self, probabilities: Float[Tensor, "rows vocabulary"]) -> tuple[Int[Tensor, "rows 1"], Float[Tensor, "rows 1"]]:
        """The k and alpha of this step, whose entropies join the history."""
        d = deviation(entropy(probabilities), self.vocabulary_entropies, math.log(probabilities.shape[-1]))
        k = (10 * squash(d, self.scale) + FEWEST).round().clamp(FEWEST, MOST).long()
        best = probabilities.topk(MOST, dim=-1).values
        best = best.masked_fill(torch.arange(MOST, device=k.device) >= k[:, None], 0)
        best = best / best.sum(dim=-1, keepdim=True)
        d = deviation(entropy(best), self.candidate_entropies, k.double().log())
        alpha = (squash(d, self.scale) * 100).round() / 100
        return k[:, None], alpha[:, None].float()


def entropy(probabilities: Float[Tensor, "rows outcomes"]) -> Float[Tensor, "rows"]:
    """-sum p ln p in nats, in float64 so that k does not hinge on rounding."""
    summands: Tensor = torch.special.entr(probabilities.double())
    return summands.sum(dim=-1)


def deviation(now: Float[Tensor, "rows"], history: list[Tensor], largest: float | Float[Tensor, "rows"]) -> Float[Tensor, "rows"]:
    """(H_t - median(H_<t)) / H_max, zero where there is no history yet; adds H_t to the history."""
    past = torch.stack(history).quantile(0.5, dim=0) if history else now
    history.append(now)
    return (now - past) / largest


def squash(deviation: Float[Tensor, "rows"], scale: float) -> Float[Tensor, "rows"]:
    """((1 + d) / (1 - d))^(q/2) / (1 + ((1 + d) / (1 - d))^(q/2)), a logistic curve in q * artanh(d).

    Since k_t varies, an entropy of candidates can leave the others' by more than ln k_t: d beyond -1 or 1 has the limit there.
    """
    return torch.sigmoid(scale * torch.atanh(deviation.clamp(-1, 1)))
