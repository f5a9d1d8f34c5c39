"""Given texts after prompts with pictures: each prompt is read once, and its continuations are rows that go on from its cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from counterpoint.decoders.forwards.given_texts import GivenTexts
from counterpoint.decoders.forwards.ragged import padded
from counterpoint.decoders.forwards.recording import ForwardOutputs, Positions, recorded_states
from counterpoint.decoders.hf.caches import CACHE, cached_length, new_cache
from counterpoint.decoders.hf.devices import ids_device
from counterpoint.decoders.hf.model_inputs import sent_to
from counterpoint.decoders.hf.positions import later_positions, picture_positions


def forward_pictured(model: PreTrainedModel, texts: GivenTexts, positions: Positions, layers: Sequence[int] = ()) -> ForwardOutputs:
    """ForwardOutputs of ``texts`` whose prompts have pictures beside them."""
    parts, order = [], []
    for number in dict.fromkeys(texts.numbers):
        places = [place for place, (text, _) in enumerate(positions) if texts.numbers[text] == number]
        parts.append(forward_prompt(model, texts, [positions[place] for place in places], layers, number))
        order += places
    back = torch.tensor(order).argsort()
    logits = torch.cat([each.logits for each in parts])
    states = {layer: torch.cat([each.states[layer] for each in parts]) for layer in parts[0].states}
    return ForwardOutputs(logits[back.to(logits.device)], {layer: each[back.to(each.device)] for layer, each in states.items()})


def forward_prompt(model: Any, texts: GivenTexts, positions: Positions, layers: Sequence[int], number: int) -> ForwardOutputs:
    """The same at positions of one prompt: first the prompt with its pictures, then all of its continuations.

    Raises:
        ValueError: For a model whose cache does not hold the prompt.
    """
    device, rows = ids_device(model), [text for text, own in enumerate(texts.numbers) if own == number]
    ids = torch.tensor([texts.prompts[rows[0]]], device=device)
    beside, seen = sent_to(device, texts.beside[number]), torch.ones_like(ids, dtype=torch.bool)
    places, delta = picture_positions(model, {"input_ids": ids, "attention_mask": seen.long(), **beside}, seen)
    cache = new_cache(model)
    states: dict[int, Tensor] = {}
    with recorded_states(model, layers, lambda hidden: hidden[:, -1:], states) as forward, forward:
        first = model(input_ids=ids, position_ids=places, use_cache=True, **{CACHE: cache}, **beside).logits[0]
    found = [each for each in enumerate(positions) if each[1][1] > 0]
    if not found:
        return ForwardOutputs(
            first.expand(len(positions), -1), {layer: each.expand(len(positions), -1) for layer, each in states.items()}
        )
    if cached_length(cache) != ids.shape[1]:
        raise ValueError(f"{type(model).__name__} keeps no cache of a prompt with pictures, by which continuations could be scored")
    new, _ = padded([texts.continuations[row][:-1] for row in rows], device=device)
    cache.reorder_cache(torch.zeros(len(rows), dtype=torch.long, device=device))  # type: ignore[arg-type]
    row, column = [rows.index(text) for _, (text, _) in found], [before - 1 for _, (_, before) in found]
    later: dict[int, Tensor] = {}
    with recorded_states(model, layers, lambda hidden: hidden[row, column][None], later) as second, second:
        rest = model(
            input_ids=new, position_ids=later_positions(ids.shape[1], new, delta), use_cache=True, **{CACHE: cache}
        ).logits[0]
    at = [place for place, _ in found]
    return ForwardOutputs(
        merged(first, rest, at, len(positions)), {n: merged(states[n], later[n], at, len(positions)) for n in states}
    )


def merged(
    first: Float[Tensor, "1 width"], rest: Float[Tensor, "later width"], at: Sequence[int], positions: int
) -> Float[Tensor, "positions width"]:
    """What follows the prompt itself at all positions but those ``at`` which the rest stands."""
    found = first.repeat(positions, 1)
    found[torch.tensor(at, device=found.device)] = rest
    return found
