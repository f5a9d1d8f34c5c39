"""Speculative contrastive decoding: a draft of several tokens, one forward of the expert for all of them, their contrast exact.

Yuan et al., *Speculative Contrastive Decoding* (2023, arXiv 2311.08981), on Leviathan et al., *Fast Inference from Transformers via
Speculative Decoding* (2022, arXiv 2211.17192).
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

from counterpoint.decoders.amateurs.models import Amateur, ModelAmateur
from counterpoint.decoders.checks import check_logits, check_mode, check_prompt
from counterpoint.decoders.contrasts.contrastive_decoding import check_alpha
from counterpoint.decoders.contrasts.forms import Form, contrast, likelihood_ratio, plausible
from counterpoint.decoders.forwards.readable import check_known
from counterpoint.decoders.forwards.rewindable_model import RewindableModel, check_reversible
from counterpoint.decoders.hf.caches import CACHE, cached_length, find_cache, new_cache, rewindable_cache
from counterpoint.decoders.hf.devices import moved_to
from counterpoint.decoders.hf.generate_call import GenerateCall, current_generate_call
from counterpoint.decoders.hf.model_inputs import TEXT, saying_something
from counterpoint.decoders.hf.outputs import (
    GenerateDecoderOnlyOutput,
    GenerateEncoderDecoderOutput,
    GenerateOutputs,
    ModelOutput,
    Streamer,
)
from counterpoint.decoders.hf.warpers import split_samplers
from counterpoint.decoders.hf.wrappers import Model, unwrapped
from counterpoint.decoders.speculative.drafts import AmateurSource, Draft, Drafter, Repetition, Source
from counterpoint.decoders.undoing import together

ROW = 0.1
"""What a further token in a forward is taken to cost, in forwards of one, where costs are counted and not measured."""
METHOD = "speculative contrastive decoding"
PROCESSOR = "ContrastiveDecodingLogitsProcessor in logits_processor=[...]"


def speculative_contrastive_decoding(
    model: PreTrainedModel,
    input_ids: Int[Tensor, "rows length"],
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    *,
    amateur: Amateur | Model | None = None,
    alpha: float = 0.1,
    form: Form = likelihood_ratio,
    draft_tokens: int = 8,
    streamer: Streamer | None = None,
    synced_gpus: bool = False,
    **model_kwargs: Any,
) -> GenerateDecoderOnlyOutput | GenerateEncoderDecoderOutput | Tensor:
    """Contrastive decoding in fewer forwards of the expert: ``custom_generate=speculative_contrastive_decoding, amateur=amateur``.

    What it generates is what ``logits_processor=[ContrastiveDecodingLogitsProcessor(amateur, alpha=alpha, form=form)]`` does: the
    same tokens without sampling, up to rounding, and tokens of the same distribution with it. Each step drafts up to
    ``draft_tokens`` tokens, from the text itself where its last tokens stood before, or by the amateur; runs the expert once over
    all of them; and takes from the contrast's scores s, position after position,

        without sampling:  argmax s, and the next position as long as that was the draft's token;
        with sampling:     the draft's token x ~ q with probability min(1, p(x) / q(x)), p = softmax(s), and the next position;
                           else one from max(0, p - q), normalised (Leviathan et al., section 2.3).

    The amateur is asked about all positions at once, and not at all where the expert leaves one token plausible. Drafts get longer
    while they are right, and shorter while they are wrong. Each step is timed (where tokens are drawn, counted, so that a seed
    gives one text), and drafts that lose time are left out after a few tokens: all of them may cost a twentieth of the time that
    plain contrastive decoding takes, of a text of 64 tokens or more. There is one text a call.

    ``generate`` calls this function; the arguments below are given to ``generate``.

    Args:
        model: The expert, a decoder-only model.
        input_ids: One prompt.
        logits_processor: Processors shape the expert's distribution before the contrast, as they do when they stand before
            ``ContrastiveDecodingLogitsProcessor``; samplers (temperature, top-p ...) at its end shape the contrast.
            Each is called once for every token that is generated, in order.
        stopping_criteria: Asked after every token. To stop at strings, pass
            ``stopping_criteria=[StopStringCriteria(tokenizer, [...])]`` (``generate`` keeps ``tokenizer=`` from callables).
        generation_config: As in greedy search and in sampling.
        amateur: A model with the expert's vocabulary, on any device and in any dtype; or a
            :class:`~counterpoint.decoders.ModelAmateur`, :class:`~counterpoint.decoders.PromptAmateur` or
            :class:`~counterpoint.decoders.AdapterAmateur`.
        alpha: Plausibility constraint in [0, 1]; 0.1 as in the papers.
        form: ``form(positive, negative)``, one of :mod:`counterpoint.decoders.contrasts.forms`. What the expert alone would say is
            also easier to draft: ``partial(extrapolation, beta=0.5)`` accepts more than the default ratio.
        draft_tokens: The most tokens to draft; 0 is plain contrastive decoding.
        streamer: Receives every token as it is chosen.
        synced_gpus: Not possible, since processes would run different numbers of forwards.
        **model_kwargs: The rest of what ``generate`` prepared.

    Returns:
        What ``generate`` returns: ids ``[1, length + new]``, or its output class, with ``scores`` as the processors left them and
        ``logits`` of the expert. Its cache can be continued from.

    Raises:
        ValueError: Naming the argument and the way out, for batches, beams, assisted decoding, hidden states and attentions, caches
            that cannot give up rejected tokens (static, quantised, recurrent, none), different vocabularies, NaN logits.

    Example:
        >>> from functools import partial
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import extrapolation, speculative_contrastive_decoding
        >>> from counterpoint.eval import AMATEUR, EXPERT
        >>> expert, amateur = (AutoModelForCausalLM.from_pretrained(path) for path in (EXPERT, AMATEUR))
        >>> inputs = AutoTokenizer.from_pretrained(EXPERT)("The whale rose", return_tensors="pt")
        >>> ids = expert.generate(
        ...     **inputs, custom_generate=speculative_contrastive_decoding, amateur=amateur, form=partial(extrapolation, beta=0.5),
        ...     max_new_tokens=20, do_sample=False,
        ... )
        >>> ids.shape[1] <= inputs.input_ids.shape[1] + 20
        True
    """
    call = current_generate_call() or GenerateCall()
    streamer, config = streamer or call.streamer, generation_config
    check_mode(config, call.assistant_model, METHOD, PROCESSOR)
    asked = _check(model, input_ids, config, amateur, alpha, draft_tokens, synced_gpus or call.synced_gpus, model_kwargs)
    check_prompt(model, input_ids, model_kwargs)

    prompt = _text(input_ids, model_kwargs)
    expert = RewindableModel(model, together, prompt, find_cache(model_kwargs), config.prefill_chunk_size)
    negative = _amateur_source(model, asked, input_ids, config, draft_tokens, alpha)
    sources: list[Source] = [Repetition(prompt[0].tolist(), draft_tokens), negative]
    if config.do_sample:  # what is drawn seldom repeats the text
        sources.reverse()
    drafter = Drafter(sources, draft_tokens)
    ratio = weights(negative.follower.model) / weights(model)
    processors, samplers = split_samplers(logits_processor)
    outputs = GenerateOutputs(model, config, model_kwargs)

    start, finished = input_ids.shape[1], False
    while not finished:
        new = input_ids[:, start:]
        began = perf_counter()
        draft = drafter.draft(new, room=config.max_length - input_ids.shape[1] - 1)
        size, accepted = len(draft.tokens), 0
        drafted = torch.cat([new, new.new_tensor([draft.tokens])], dim=1) if size else new
        logits = expert.logits(drafted, last=size + 1)
        check_logits(logits)
        for position in range(size + 1):
            positive = processors(input_ids, logits[position : position + 1].clone())  # type: ignore[arg-type]
            check_logits(positive)
            kept = plausible(positive, alpha=alpha)
            if int(kept.sum()) == 1 and not config.output_scores:
                scores = positive.masked_fill(~kept, -torch.inf)  # whatever the amateur says
            else:
                if position >= len(draft.negatives):
                    draft.negatives += negative.logits(drafted, last=size + 1 - len(draft.negatives)).split(1)
                scores = contrast(positive, draft.negatives[position], form=form, alpha=alpha)
            scores = samplers(input_ids, scores)  # type: ignore[arg-type]
            outputs.step(ModelOutput(), logits[position : position + 1], scores)
            guess, proposal = (draft.tokens[position], draft.proposals[position]) if position < size else (None, None)
            token = speculative_draw(scores[0].softmax(dim=-1), guess, proposal) if config.do_sample else int(scores.argmax())
            input_ids = torch.cat([input_ids, new.new_tensor([[token]])], dim=1)
            if streamer is not None:
                streamer.put(input_ids[0, -1:].cpu())
            finished = bool(stopping_criteria(input_ids, outputs.told).all())
            if finished or token != guess:
                break
            accepted += 1
        for follower in (expert, negative.follower):
            follower.keep(input_ids.shape[1] - start - 1)
        drafter.learn(draft, accepted, counted(draft, ratio) if config.do_sample else perf_counter() - began)

    if streamer is not None:
        streamer.end()
    return outputs.result(input_ids, expert.release())


def counted(draft: Draft, ratio: float) -> float:
    """The cost of a step in forwards of the expert, by numbers of weights: where tokens are drawn, a clock would draw others."""
    drafting = sum(proposal is not None for proposal in draft.proposals)
    return 1 + ROW * len(draft.tokens) + ratio * (1 + drafting)


def weights(model: PreTrainedModel) -> int:
    """How many numbers a forward has to read."""
    return sum(parameter.numel() for parameter in model.parameters())


def speculative_draw(
    p: Float[Tensor, "vocabulary"], guess: int | None = None, proposal: Float[Tensor, "vocabulary"] | None = None
) -> int:
    """A token of distribution ``p``, as often as possible the ``guess``, which was drawn from ``proposal`` or, if None, not drawn.

    Example:
        >>> import torch
        >>> speculative_draw(torch.tensor([0.0, 1.0]), guess=0)
        1
    """
    if guess is None:
        return int(torch.multinomial(p, 1))
    if proposal is None:
        proposal = torch.zeros_like(p)
        proposal[guess] = 1
    if bool(torch.rand((), device=p.device) * proposal[guess] < p[guess]):
        return guess
    residual = (p - proposal).clamp(min=0)
    return int(torch.multinomial(residual, 1)) if bool(residual.any()) else guess  # rounding left nothing: p is the proposal


def _amateur_source(
    model: PreTrainedModel, amateur: ModelAmateur, input_ids: Tensor, config: GenerationConfig, most: int, alpha: float
) -> AmateurSource:
    """The amateur at the beginning of its own text."""
    check_reversible(amateur.model, new_cache(amateur.model), "the amateur")
    ids, seen = amateur.text(moved_to(amateur.model, input_ids))
    check_known(amateur.model, ids.flatten().tolist())
    cache = rewindable_cache(amateur.model)
    follower = RewindableModel(amateur.model, amateur.running, ids[:, seen[0]], cache, config.prefill_chunk_size)
    width = model.config.get_text_config(decoder=True).vocab_size
    temperature = (config.temperature or 1.0) if config.do_sample else None
    return AmateurSource(follower, width, amateur.known_tokens, most, alpha, temperature)


def _check(
    model: PreTrainedModel,
    input_ids: Tensor,
    config: GenerationConfig,
    amateur: Amateur | Model | None,
    alpha: float,
    draft_tokens: int,
    synced_gpus: bool,
    model_kwargs: dict[str, Any],
) -> ModelAmateur:
    """Everything that could be asked for and cannot be done; gives the amateur."""
    check_alpha(alpha)
    if isinstance(unwrapped(amateur), PreTrainedModel):
        amateur = ModelAmateur(unwrapped(amateur))
    if not isinstance(amateur, ModelAmateur):
        given = "None" if amateur is None else type(amateur).__name__
        raise ValueError(f"amateur={given}: {METHOD} needs a model or a ModelAmateur; for other amateurs use {PROCESSOR}")
    if not isinstance(draft_tokens, int) or draft_tokens < 0:
        raise ValueError(f"draft_tokens={draft_tokens!r} is not a number of tokens; pass 0 or more")
    if model.config.is_encoder_decoder:
        raise ValueError(f"{type(model).__name__} is an encoder-decoder model; use {PROCESSOR}")
    if len(input_ids) > 1:
        raise ValueError(
            f"{len(input_ids)} rows (of prompts or num_return_sequences): {METHOD} writes one text a call; use {PROCESSOR}"
        )
    if config.penalty_alpha is not None:
        raise ValueError(f"penalty_alpha={config.penalty_alpha!r} is another decoding method than {METHOD}; leave one out")
    if not config.use_cache:
        raise ValueError(f"use_cache=False: {METHOD} takes rejected tokens back from a cache; without one use {PROCESSOR}")
    for name in ("output_hidden_states", "output_attentions"):
        if getattr(config, name):
            raise ValueError(f"{name}=True: {METHOD} keeps logits and scores only; use {PROCESSOR}")
    if synced_gpus:
        raise ValueError(f"synced_gpus=True: {METHOD} runs another number of forwards in each process; use {PROCESSOR}")
    if others := sorted(saying_something(model, model_kwargs).keys() - TEXT):
        raise ValueError(f"{', '.join(others)}: {METHOD} knows texts of ids only; use {PROCESSOR}")
    check_reversible(model, find_cache(model_kwargs), "the expert")
    return amateur


def _text(input_ids: Int[Tensor, "1 padded"], model_kwargs: dict[str, Any]) -> Int[Tensor, "1 text"]:
    """The prompt without padding, which must be the whole text, also where a cache holds its beginning."""
    mask: Tensor | None = model_kwargs.get("attention_mask")
    held, length = cached_length(find_cache(model_kwargs)), input_ids.shape[1]
    padded = mask is not None and (mask.shape[1] != length or not bool(mask.all()))
    if held and (padded or length <= held):
        raise ValueError(f"{CACHE} holds {held} positions and input_ids {length}: pass the whole text as input_ids, unpadded")
    text = input_ids if mask is None or not padded else input_ids[:, mask[0].bool()]
    length = text.shape[1]
    positions = model_kwargs.get("position_ids")
    if positions is not None and int(positions.flatten()[-1]) != length - 1:
        raise ValueError(
            f"position_ids end at {int(positions.flatten()[-1])}, the text at {length - 1}: pass the whole text as input_ids and "
            "leave position_ids out"
        )
    return text
