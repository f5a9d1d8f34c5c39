"""The loop of contrastive search: prefill, then one forward of k candidates per token, in place of greedy's one token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

from counterpoint.decoders.checks import check_cache, check_logits, check_mode, check_prompt, check_states, check_whole_text
from counterpoint.decoders.forwards.candidates import CandidateForward
from counterpoint.decoders.forwards.fixed_shapes.support import static_forward, static_space, with_growing_cache
from counterpoint.decoders.forwards.tree_support import Method, candidate_forward
from counterpoint.decoders.hf import steps
from counterpoint.decoders.hf.caches import cached_length, find_cache, without_cache
from counterpoint.decoders.hf.generate_call import GenerateCall, current_generate_call
from counterpoint.decoders.hf.model_inputs import after_prompt, saying_something
from counterpoint.decoders.hf.outputs import (
    GenerateDecoderOnlyOutput,
    GenerateEncoderDecoderOutput,
    GenerateOutputs,
    ModelOutput,
    Streamer,
)
from counterpoint.decoders.hf.steps import GenerativeModel, after_forward, first_inputs, goes_on, padding_token
from counterpoint.decoders.hf.unembedding import narrowed_unembedding
from counterpoint.decoders.hf.warpers import warpers
from counterpoint.decoders.search.contrastive_score import Context, contrastive_scores, unit
from counterpoint.decoders.watching import SearchStep, current_watcher

Rule = Callable[[Float[Tensor, "rows vocabulary"]], tuple[int | Int[Tensor, "rows 1"], float | Float[Tensor, "rows 1"]]]
"""Maps the probabilities of a step to the number of candidates of each row and the weight of their penalty."""


@dataclass(frozen=True)
class Sampling:
    """The sampled form: ``steps`` tokens drawn from p, then tokens drawn from softmax(score / ``temperature``)."""

    steps: int
    temperature: float

    def check(self, do_sample: bool) -> None:
        """Values that mean something."""
        if not isinstance(self.steps, int) or self.steps < 0:
            raise ValueError(f"sample_steps={self.steps!r} is not a number of tokens; pass 0 or more")
        if self.steps and not do_sample:
            raise ValueError(f"sample_steps={self.steps} without sampling; pass do_sample=True as well")
        if not self.temperature >= 0:
            raise ValueError(f"score_temperature={self.temperature!r}: pass 0 (the best candidate) or more")

    def pick(self, scores: Float[Tensor, "rows k"], do_sample: bool) -> Int[Tensor, "rows"]:
        """The index of the best candidate, the first on ties, or of one drawn by its score."""
        if not do_sample or self.temperature == 0 or scores.shape[1] == 1:
            return scores.argmax(dim=-1)
        return torch.multinomial((scores.float() / self.temperature).softmax(dim=-1), 1).squeeze(1)


def search(
    model: GenerativeModel,
    input_ids: Int[Tensor, "rows length"],
    rule: Rule,
    most: int,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    config: GenerationConfig,
    method: Method,
    sampling: Sampling,
    streamer: Streamer | None,
    synced_gpus: bool,
    model_kwargs: dict[str, Any],
) -> GenerateDecoderOnlyOutput | GenerateEncoderDecoderOutput | Tensor:
    """Contrastive search with the number of candidates and the weight of the penalty that ``rule`` gives each step.

    ``most`` is the largest number of candidates that it ever gives, for which static caches make room.
    """
    call = current_generate_call() or GenerateCall()
    streamer, synced_gpus = streamer or call.streamer, synced_gpus or call.synced_gpus
    do_sample = bool(config.do_sample)
    check_mode(config, call.assistant_model)
    check_prompt(model, input_ids, model_kwargs)
    sampling.check(do_sample)
    logits_processor = warpers(logits_processor, config)

    model_kwargs = with_positions_of_rows(model_kwargs, len(input_ids))
    space = static_space(model, config, most, method, model_kwargs)
    model_kwargs = model_kwargs if space is None else with_growing_cache(model, model_kwargs)
    output, hidden, model_kwargs = prefill(model, input_ids, config, saying_something(model, model_kwargs))
    cache = find_cache(output) if config.use_cache else None
    check_cache(model, cache, bool(config.use_cache))
    model_kwargs = after_prompt(model_kwargs) if config.use_cache else model_kwargs
    check_logits(output["logits"][:, -1])
    context = Context(unit(hidden), seen_positions(model, hidden.shape[1], model_kwargs))
    rows = torch.arange(len(hidden), device=hidden.device)
    if space is None or cache is None:
        forward: CandidateForward = candidate_forward(method, model, cache, hidden.shape[1], hidden.shape[0], model_kwargs)
    else:
        forward = static_forward(space, model, config, cache, hidden.shape[1], model_kwargs)
    del hidden

    outputs = GenerateOutputs(model, config, model_kwargs)
    unfinished = torch.ones(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
    padding, finished, watcher = padding_token(config), False, current_watcher()
    step = 0
    while goes_on(model, finished, synced_gpus, input_ids.device):
        logits = output["logits"][:, -1].to(dtype=torch.float32, device=input_ids.device, copy=True)
        scores = logits_processor(input_ids, logits.clone())  # type: ignore[arg-type]
        outputs.step(output, logits, scores)
        check_logits(scores)
        probabilities = scores.softmax(dim=-1)
        alpha: float | Tensor = 0.0
        if step < sampling.steps:
            candidates = torch.multinomial(probabilities, 1)
            confidence = probabilities.gather(1, candidates)
        else:
            k, alpha = rule(probabilities)
            confidence, candidates = probabilities.topk(k if isinstance(k, int) else int(k.max()), dim=-1)
        allowed = scores.gather(1, candidates) > -torch.inf
        if step >= sampling.steps and not isinstance(k, int):
            allowed &= torch.arange(candidates.shape[1], device=k.device) < k

        def choose(hidden: Float[Tensor, "rows k hidden"]) -> Int[Tensor, "rows"]:
            states = unit(hidden)
            similarity = context.similarity(states).to(confidence.device)  # noqa: B023 - called within this step
            contrastive = torch.where(allowed, contrastive_scores(confidence, similarity, alpha), -torch.inf)  # noqa: B023
            chosen = sampling.pick(contrastive, do_sample)
            if watcher is not None:
                nearest = context.cosine(states).argmax(dim=-1)
                seen = SearchStep(candidates, confidence, similarity, nearest, contrastive, alpha, chosen)  # noqa: B023
                watcher(search, input_ids, seen)  # noqa: B023
            context.append(states[rows, chosen.to(states.device)][:, None])
            return chosen

        chosen, output = forward(input_ids, candidates, choose)
        step += 1
        if synced_gpus and finished:
            continue
        tokens = candidates.gather(1, chosen.to(candidates.device)[:, None]).squeeze(1)
        if padding is not None:
            tokens = torch.where(unfinished, tokens, padding.to(tokens.device))
        input_ids = torch.cat([input_ids, tokens[:, None]], dim=-1)
        if streamer is not None:
            streamer.put(tokens.cpu())
        unfinished = unfinished & ~stopping_criteria(input_ids, outputs.told)
        finished = not bool(unfinished.any())

    if streamer is not None:
        streamer.end()
    return outputs.result(input_ids, forward.finish())


def prefill(
    model: GenerativeModel, input_ids: Int[Tensor, "rows length"], config: GenerationConfig, model_kwargs: dict[str, Any]
) -> tuple[ModelOutput, Float[Tensor, "rows positions hidden"], dict[str, Any]]:
    """The prompt's forward: its output, the last hidden states of all positions, and the arguments of the next forward.

    States of tokens that a given cache already holds are computed again, since no cache keeps them.
    """
    hidden: list[Tensor] = []

    def narrow(states: Tensor) -> Tensor:
        hidden.append(states)
        return states[:, -1:]

    embeds = model_kwargs.get("inputs_embeds")
    length = (input_ids if embeds is None else embeds).shape[1]
    check_whole_text(model, length, model_kwargs, "contrastive search compares with")
    held = cached_length(find_cache(model_kwargs)) if config.use_cache else 0
    if held:
        with narrowed_unembedding(model, narrow) as narrowed, narrowed:
            model(**first_inputs(model, input_ids, None, without_cache(model_kwargs)), return_dict=True)
        hidden = [hidden[0][:, :held]]
    with narrowed_unembedding(model, narrow) as narrowed, narrowed:
        if config.prefill_chunk_size is None:
            inputs = first_inputs(model, input_ids, length - held if held or embeds is not None else None, model_kwargs)
            output = model(**inputs, return_dict=True)
        else:
            output = steps.prefill(model, input_ids, config, {**model_kwargs, "logits_to_keep": 0})
    states = torch.cat(hidden, dim=1)
    check_states(model, states, length)
    return output, states, after_forward(model, output, model_kwargs)


def seen_positions(model: PreTrainedModel, length: int, model_kwargs: dict[str, Any]) -> Bool[Tensor, "rows length"] | None:
    """Which of the prompt's positions are tokens rather than padding; None where all are."""
    mask = model_kwargs.get("decoder_attention_mask" if model.config.is_encoder_decoder else "attention_mask")
    seen = None if mask is None else mask[:, :length].bool()
    return None if seen is None or bool(seen.all()) else seen


def with_positions_of_rows(model_kwargs: dict[str, Any], rows: int) -> dict[str, Any]:
    """The arguments with positions for each row, where those of one stand for all."""
    positions = model_kwargs.get("position_ids")
    if positions is None or positions.ndim < 2 or positions.shape[-2] != 1:
        return model_kwargs
    return {**model_kwargs, "position_ids": positions.expand(*positions.shape[:-2], rows, -1)}
