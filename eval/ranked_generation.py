"""One prompt, a sampler and a ranker: the best of several texts."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from counterpoint.eval.decoder_specs import DecoderSpec
from counterpoint.eval.errors import CommandError
from counterpoint.eval.generation import Emit, Generated, TextStream
from counterpoint.eval.loading import Loaded
from counterpoint.rankers import Ranker, ranked_search
from counterpoint.rankers.continuation_texts import continuation_text


@dataclass(frozen=True)
class Ranking:
    """How texts are chosen: see :func:`~counterpoint.rankers.ranked_search`."""

    ranker: Ranker
    name: str
    """What chose the ranker."""
    beams: int
    samples: int
    tokens_per_round: int | None


def generate(
    loaded: Loaded, ranking: Ranking, prompt: list[int], max_new_tokens: int, seed: int, choice: DecoderSpec, emit: Emit
) -> Generated:
    """The best continuation of a prompt that is found.

    Args:
        loaded: The model.
        ranking: How it is chosen.
        prompt: Its tokens for the prompt.
        max_new_tokens: At most so many tokens.
        seed: Of the random numbers, set anew for every text.
        choice: The sampler that proposes.
        emit: Gets the text, as far as it is certain.

    Returns:
        It, with the candidates of the last round and their scores in its details.

    Raises:
        CommandError: If the model, the ranker or the parameters are refused.
    """
    input_ids = torch.tensor([prompt], device=loaded.model.device)
    torch.manual_seed(seed)
    start = time.perf_counter()
    try:
        found = loaded.model.generate(  # type: ignore[operator]
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            custom_generate=ranked_search,
            ranker=ranking.ranker,
            processing_class=loaded.tokenizer,
            beams=ranking.beams,
            samples=ranking.samples,
            tokens_per_round=ranking.tokens_per_round,
            streamer=TextStream(loaded.tokenizer, prompt, emit),
            max_new_tokens=max_new_tokens,
            return_dict_in_generate=True,
            **choice.generate_arguments(),
        )
    except ValueError as error:
        raise CommandError(f"decoder {choice}, ranker {ranking.name}: {error}") from error
    candidates = found.tree[0][-1]
    seconds = time.perf_counter() - start
    best = candidates[0]
    details = {
        "ranker": ranking.name,
        "candidates": [each.text for each in candidates],
        "scores": [each.score if each.text.strip() else None for each in candidates],
    }
    return Generated(continuation_text(loaded.tokenizer, prompt, list(best.tokens)), len(best.tokens), seconds, details)
