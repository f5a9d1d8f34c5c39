"""Contrastive search: the likely token least like anything the text already holds.

Su et al., *A Contrastive Framework for Neural Text Generation* (2022, arXiv 2202.06417), equation 5; Su and Collier,
*Contrastive Search Is What You Need For Neural Text Generation* (2023, arXiv 2210.14140).
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

from counterpoint.decoders.checks import check_rule
from counterpoint.decoders.forwards.tree_support import Method
from counterpoint.decoders.hf.outputs import GenerateDecoderOnlyOutput, GenerateEncoderDecoderOutput, Streamer
from counterpoint.decoders.hf.unembedding import head_width
from counterpoint.decoders.search.contrastive_search_loop import Sampling, search


def contrastive_search(
    model: PreTrainedModel,
    input_ids: Int[Tensor, "rows length"],
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    *,
    candidates: Method = "auto",
    sample_steps: int = 0,
    score_temperature: float = 0.1,
    streamer: Streamer | None = None,
    synced_gpus: bool = False,
    **model_kwargs: Any,
) -> GenerateDecoderOnlyOutput | GenerateEncoderDecoderOutput | Tensor:
    """Contrastive search, for ``model.generate(..., custom_generate=contrastive_search, penalty_alpha=0.6, top_k=5)``.

    Among the ``top_k`` most probable tokens V^k, every step takes

        argmax_{v in V^k}  (1 - penalty_alpha) * p(v | x)  -  penalty_alpha * max_j cos(h_v, h_{x_j}),

    where p is the softmax over the whole vocabulary after logits processors and warpers, h the last hidden state (the vector the
    model unembeds), and j runs over all earlier tokens, the prompt's included and padding excluded. A token that a processor
    banned (a logit of -inf) is never taken. ``top_k=1`` or ``penalty_alpha=0`` is greedy search.

    ``generate`` calls this function; the arguments below are given to ``generate``.

    Args:
        model: Any model with ``generate``, decoder-only or encoder-decoder.
        input_ids: Prompts, padded on the left.
        logits_processor: Applied to the logits before candidates are taken, as in greedy search.
        stopping_criteria: As in greedy search; to stop at strings, pass
            ``stopping_criteria=[StopStringCriteria(tokenizer, [...])]`` (``generate`` keeps ``tokenizer=`` from callables).
        generation_config: ``penalty_alpha`` in [0, 1] and ``top_k`` >= 1 are read from it (the paper: 0.6 and 5 for English
            prose, 0.4 and 3 for code); ``temperature``, ``top_p``, ``min_p``, ``typical_p`` and the other warpers apply with and
            without ``do_sample``, since they shape p. All of it may come from the checkpoint's ``generation_config.json``.
        candidates: "tree" computes a row's candidates as one masked sequence, "expand" as ``top_k`` rows; "auto" takes the
            tree wherever it is known and measured to be equal (:func:`~counterpoint.decoders.candidate_method`).
        sample_steps: With ``do_sample=True``, this many first tokens are drawn from p, and contrastive search continues them
            (the diverse contrastive search of the paper's released code).
        score_temperature: With ``do_sample=True``, later tokens are drawn from softmax(score / score_temperature) over V^k;
            0 takes the best one. This project's own form; 0.1 keeps most of the mass on candidates near the best.
        streamer: Receives every token as it is chosen.
        synced_gpus: Keep stepping until every process has finished.
        **model_kwargs: The rest of what ``generate`` prepared.

    Returns:
        What ``generate`` returns: ids ``[rows, length + new]``, or its output class, whose ``scores`` are the processed logits
        [rows, vocabulary] of each step, ``logits`` the raw ones, hidden states and attentions those of the chosen tokens.
        The cache can be continued from, and is None where the cache cannot give up its last token (recurrent states).

    Raises:
        ValueError: Naming the argument and the way out, for values out of range, right or all padding, NaN logits, beams,
            assisted decoding, quantised caches, static ones where no tree is right, and models whose state or hidden state cannot
            be reached.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import contrastive_search
        >>> from counterpoint.eval import AMATEUR
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
        >>> inputs = tokenizer(["It was a", "The whale rose slowly from the"], return_tensors="pt", padding=True)
        >>> ids = model.generate(
        ...     **inputs, custom_generate=contrastive_search, penalty_alpha=0.6, top_k=5, max_new_tokens=20, do_sample=False
        ... )
        >>> list(ids.shape) == [2, inputs.input_ids.shape[1] + 20]
        True
    """
    alpha, k = generation_config.penalty_alpha, generation_config.top_k
    check_rule(alpha, k, head_width(model))
    return search(
        model,
        input_ids,
        lambda probabilities: (k, alpha),
        k,
        logits_processor,
        stopping_criteria,
        generation_config,
        candidates,
        Sampling(sample_steps, score_temperature),
        streamer,
        synced_gpus,
        model_kwargs,
    )
