"""Ranked search: a few tokens are sampled many times over, a ranker keeps the best beginnings, and those are continued.

Krishna et al., *RankGen: Improving Text Generation with Large Ranking Models* (2022, arXiv 2205.09726), figure 5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
)

from counterpoint.decoders.checks import check_prompt, check_whole_text
from counterpoint.decoders.forwards.ragged import padded
from counterpoint.decoders.hf.generate_call import GenerateCall, current_generate_call
from counterpoint.decoders.hf.outputs import ModelOutput, Streamer
from counterpoint.decoders.hf.steps import padding_token
from counterpoint.rankers.base import Ranker
from counterpoint.rankers.continuation_texts import GeneratedText, continuation_text, prompt_texts, unpadded
from counterpoint.rankers.search.beams import Beams, Candidate, shared_beginning
from counterpoint.rankers.search.checks import check_mode, check_prefixes, check_prompt_texts, check_settings
from counterpoint.rankers.search.proposals import Proposer, chosen
from counterpoint.rankers.search.rounds import StepProposer

Tree = list[list[list[Candidate]]]
"""All candidates of every prompt and round, the best first; the first of a round, as many as there are beams, were continued."""


@dataclass
class RankedSearchOutput(ModelOutput):
    """What :func:`ranked_search` found, for ``return_dict_in_generate=True``."""

    sequences: Int[Tensor, "texts length"] | None = None
    """The texts, ``num_return_sequences`` of each prompt, best first."""
    ranker_scores: Float[Tensor, "texts"] | None = None
    """Their scores; -inf for an empty continuation."""
    tree: Tree | None = None
    """All that was proposed."""


def ranked_search(
    model: PreTrainedModel,
    input_ids: Int[Tensor, "rows length"],
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    ranker: Ranker | None = None,
    processing_class: PreTrainedTokenizerBase | None = None,
    beams: int = 2,
    candidates: int = 10,
    tokens_per_round: int | None = 20,
    round_ends: str = "",
    prefixes: Sequence[str] | None = None,
    inputs_tensor: Tensor | None = None,
    **model_kwargs: Any,
) -> RankedSearchOutput | Tensor:
    """RankGen's beam search: ``custom_generate=ranked_search, ranker=ranker, processing_class=tokenizer, do_sample=True``.

    A beam is a continuation of the prompt, at first an empty one. Every round

    1. samples ``candidates`` continuations of ``tokens_per_round`` tokens for each beam (``beams * candidates`` in the first round,
       whose beams are all alike);
    2. scores s(prefix, continuation) of each whole continuation so far and keeps the ``beams`` best, each but once.

    A beam that has ended stays as it is as long as no others are better. The search ends when all kept ones have. The model's own
    probability takes no part in the choice: Krishna et al., *RankGen: Improving Text Generation with Large Ranking Models* (2022,
    arXiv 2205.09726), figure 5. ``tokens_per_round=None`` is over-generation and reranking, one beam and one sample is plain
    sampling.

    The prompt is read once, by the ranker too; caches are carried from round to round, and only beams that have not ended are
    stepped. Prompts of a batch are searched side by side; they draw from the same random numbers, so that texts of a batch are
    other samples than those of prompts alone.

    ``generate`` calls this function; the arguments below are given to ``generate``.

    Args:
        model: Any model with ``generate``, decoder-only or encoder-decoder.
        input_ids: Prompts, padded on the left.
        logits_processor: All of this library's, and all of transformers' but those that keep something for each row.
        stopping_criteria: As in sampling; to stop at strings, pass ``stopping_criteria=[StopStringCriteria(tokenizer, [...])]``
            (``generate`` keeps ``tokenizer=`` from callables).
        generation_config: As in sampling: ``do_sample=True``, and ``top_p=0.9, max_new_tokens=115`` in the paper. ``top_k`` is 50
            unless set, as in every sampling of transformers; ``top_k=0`` for nucleus sampling alone.
            ``num_return_sequences`` texts of a prompt are given, the best first; where fewer differ, the last is repeated.
        ranker: Scores continuations; one of :mod:`counterpoint.rankers` or any other :class:`~counterpoint.rankers.Ranker`.
        processing_class: The model's tokenizer, since rankers read text.
        beams: How many continuations are kept; 2 as released.
        candidates: How many continuations of each are sampled; 10 as released.
        tokens_per_round: How many tokens a round adds; 20 as released. None: until the end.
        round_ends: A string at which a beam's round ends before that, such as a blank line between the steps of a reasoning: every
            beam is then a step longer, and the search is a beam search over steps.
        prefixes: One text for each prompt, if the ranker shall read another than the prompt without special tokens.
        inputs_tensor: What ``generate`` was given as inputs; it comes from there.
        **model_kwargs: The rest of what ``generate`` prepared. A cache in it that holds text is copied.

    Returns:
        Ids ``[prompts * num_return_sequences, length + new]``, padded on the right; with ``return_dict_in_generate=True`` a
        :class:`RankedSearchOutput` with scores and the tree.

    Raises:
        ValueError: Naming the argument and the way out, for values out of range, beams of ``num_beams``, assisted decoding,
            other decoding methods, per-token outputs, inputs other than text, static and quantised caches, a streamer for
            several texts, NaN logits or scores.

    Example:
        >>> import torch
        >>> from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
        >>> from counterpoint.rankers import SMALL, Ranker, ranked_search
        >>> class Commas(Ranker):
        ...     comparable = True
        ...
        ...     def prepare(self, prefixes):
        ...         return lambda candidates: [torch.tensor([-float(text.count(",")) for text in own]) for own in candidates]
        >>> tokenizer = AutoTokenizer.from_pretrained(SMALL)
        >>> sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
        >>> ends = dict(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes, **ends))  # in its place any language model
        >>> inputs = tokenizer(["The whale rose", "She was"], return_tensors="pt", padding=True, padding_side="left")
        >>> found = model.generate(
        ...     **inputs, custom_generate=ranked_search, ranker=Commas(), processing_class=tokenizer, beams=2, candidates=4,
        ...     tokens_per_round=5, do_sample=True, top_p=0.9, max_new_tokens=10, return_dict_in_generate=True,
        ... )
        >>> [len(rounds) for rounds in found.tree]
        [2, 2]
    """
    call, config = current_generate_call() or GenerateCall(), generation_config
    ranker, tokenizer = check_settings(ranker, processing_class, beams, candidates, tokens_per_round, round_ends, config)
    check_mode(model, config, call, logits_processor, stopping_criteria, len(input_ids), model_kwargs)
    check_prompt(model, input_ids, model_kwargs)
    check_whole_text(model, input_ids.shape[1], model_kwargs, "rankers read")
    texts_each = config.num_return_sequences or 1
    firsts = torch.arange(0, len(input_ids), texts_each, device=input_ids.device)
    prompts, model_kwargs = input_ids[firsts], {name: chosen(value, firsts) for name, value in model_kwargs.items()}
    if prefixes is None:
        read = inputs_tensor if model.config.is_encoder_decoder and inputs_tensor is not None else prompts
        check_prompt_texts(read)
        prefixes = prompt_texts(tokenizer, read, model_kwargs.get("attention_mask"))
    check_prefixes(prefixes, len(prompts))

    # the tokens before the new ones, which inputs_embeds hide and of which an encoder-decoder model's decoder has only its first
    known = not model.config.is_encoder_decoder and prompts.shape[1] > 0
    ids = unpadded(prompts, model_kwargs.get("attention_mask")) if known else prompts.tolist()
    text_of: Callable[..., str] = GeneratedText if known else continuation_text
    found = Beams(ranker.scorer(prefixes), lambda prompt, new: text_of(tokenizer, ids[prompt], new), len(prompts), beams)
    begin = partial(begun, model, logits_processor, stopping_criteria, config)
    stream = None if call.streamer is None else Stream(call.streamer)
    draws = beams * candidates
    steps = StepProposer(begin, prompts, firsts, model_kwargs, found.text, round_ends) if round_ends else None
    proposer = begin(prompts, firsts, model_kwargs)
    while live := found.live():
        if steps is None:
            proposer.select(found.grow(proposer.propose(draws, tokens_per_round), draws))
        else:
            rows = [(prompt, found.kept[prompt][place].tokens) for prompt, place in live]
            found.grow(steps.propose(rows, draws, tokens_per_round), draws)
        draws = candidates
        if stream is not None:
            stream.put(found.kept[0])
    if stream is not None:
        stream.end(found.kept[0])

    best = [each for pool in found.kept for each in (pool + pool[-1:] * texts_each)[:texts_each]]
    padding = padding_token(config)
    new, _ = padded([each.tokens for each in best], padding=0 if padding is None else int(padding), device=input_ids.device)
    sequences = torch.cat([input_ids, new], dim=1)
    if not config.return_dict_in_generate:
        return sequences
    return RankedSearchOutput(sequences, torch.tensor([each.score for each in best]), found.rounds)


def begun(
    model: PreTrainedModel,
    processors: LogitsProcessorList,
    criteria: StoppingCriteriaList,
    config: GenerationConfig,
    ids: Int[Tensor, "rows length"],
    origins: Int[Tensor, "rows"],
    model_kwargs: dict[str, Any],
) -> Proposer:
    """What continues these rows."""
    return Proposer(model, ids, origins, processors, criteria, config, model_kwargs)


class Stream:
    """Hands a streamer the tokens that all beams of a prompt share, since no later choice can take them back."""

    def __init__(self, streamer: Streamer) -> None:
        self.streamer, self.sent = streamer, 0

    def put(self, kept: Sequence[Candidate]) -> None:
        """Send what no later round can change."""
        self._send(kept[0].tokens[: shared_beginning([each.tokens for each in kept])])

    def end(self, kept: Sequence[Candidate]) -> None:
        """Send the rest of the best text."""
        self._send(kept[0].tokens)
        self.streamer.end()

    def _send(self, tokens: Sequence[int]) -> None:
        for token in tokens[self.sent :]:
            self.streamer.put(torch.tensor([token]))
        self.sent = len(tokens)
