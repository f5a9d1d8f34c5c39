"""Sampling in which each text has random numbers of its own, so that it does not depend on the others of its batch.

``generate`` draws a batch's tokens from one stream of random numbers: whoever shares the batch, and how long they last, changes
everybody's text. Here every row has a generator, and the token is that of the Gumbel-max trick,

    argmax_v  ln p(v | x) + g_v,    g_v = -ln e_v,  e_v ~ Exponential(1) independently,

which is distributed as p (Gumbel 1954; Maddison, Tarlow and Minka, *A* Sampling*, 2014, arXiv 1411.0030). Where rounding changes
p by little, as it does from one batch size to another, the token changes with a probability of the same order.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

from counterpoint.decoders.hf.steps import plain_loop


def row_sampling(
    model: PreTrainedModel,
    input_ids: Int[Tensor, "rows length"],
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    row_seeds: Sequence[int],
    **model_kwargs: Any,
) -> Any:
    """Sampling for ``model.generate(..., do_sample=True, custom_generate=row_sampling, row_seeds=[...])``.

    The warpers are those that ``generate`` makes for ``do_sample=True``; the noise comes after them, and greedy search takes the
    best token of the sum.

    Args:
        model: Any model with ``generate``.
        input_ids: Prompts, padded on the left.
        logits_processor: With the warpers at its end.
        stopping_criteria: As ``generate`` made them.
        generation_config: As ``generate`` made it.
        row_seeds: Seed of each row's generator; rows of the same seed draw the same numbers.
        **model_kwargs: The rest of what ``generate`` prepared.

    Returns:
        What ``generate`` returns; ``scores`` have the noise in them.

    Raises:
        ValueError: If there is not one seed a row, or several beams, which the noise would follow.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.eval import AMATEUR
        >>> from counterpoint.eval.bench.row_sampling import row_sampling
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
        >>> inputs = tokenizer(["It was a"] * 3, return_tensors="pt")
        >>> options = dict(do_sample=True, custom_generate=row_sampling, max_new_tokens=20)
        >>> one, two, three = model.generate(**inputs, **options, row_seeds=[1, 2, 1]).tolist()
        >>> one == three, one == two
        (True, False)
    """
    if len(row_seeds) != len(input_ids):
        raise ValueError(f"row_seeds: {len(row_seeds)} for {len(input_ids)} rows; give one for each")
    if generation_config.num_beams and generation_config.num_beams > 1:
        raise ValueError(f"num_beams={generation_config.num_beams}: sampled beams share one stream of numbers; use one beam")
    config = copy.copy(generation_config)
    config.do_sample = False
    processors = LogitsProcessorList([*logits_processor, GumbelNoise(row_seeds, input_ids.device)])
    return plain_loop(model, input_ids, processors, stopping_criteria, config, **model_kwargs)


class GumbelNoise(LogitsProcessor):
    """Adds each row's Gumbel noise to its log-probabilities; every call draws the next.

    Args:
        row_seeds: Seeds of the rows' generators.
        device: Where the scores are; generators of another kind of device draw other numbers.
    """

    def __init__(self, row_seeds: Sequence[int], device: torch.device) -> None:
        drawn_on = "cpu" if device.type == "mps" else device  # Metal has no float64
        self.generators = [torch.Generator(drawn_on).manual_seed(seed) for seed in row_seeds]

    def __call__(
        self, input_ids: Int[Tensor, "rows length"], scores: Float[Tensor, "rows vocabulary"]
    ) -> Float[Tensor, "rows vocabulary"]:
        """The sum; drawn in float64, since one in 2^24 draws in float32 is 0, whose noise is infinite."""
        exponential = torch.empty(scores.shape, dtype=torch.float64, device=self.generators[0].device)
        for row, generator in zip(exponential, self.generators, strict=True):
            row.exponential_(generator=generator)
        return scores - exponential.log().to(scores.device, scores.dtype)
