"""Which attention heads copy from the context: those whose eyes are on the very token that is generated.

Wu et al., *Retrieval Head Mechanistically Explains Long-Context Factuality* (2024, arXiv 2404.15574), on a copying task that small
models without instructions can do: a needle, a sentence of random words, somewhere in a text of another kind, and its beginning
once more at the end.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders.amateurs.head_lists import Head
from counterpoint.decoders.hf.attention import attention_name, set_attention
from counterpoint.decoders.hf.caches import CACHE, new_cache
from counterpoint.decoders.hf.configuration import context_length
from counterpoint.decoders.hf.devices import ids_device
from counterpoint.decoders.undoing import Change

PEOPLE = ("captain", "baker", "doctor", "sailor", "teacher", "painter", "widow", "soldier", "merchant", "lawyer", "miller", "nurse")
THINGS = ("lamp", "coin", "letter", "ring", "map", "key", "watch", "book", "knife", "mirror", "violin", "hat", "rope", "box")
KINDS = ("green", "broken", "silver", "heavy", "ancient", "yellow", "painted", "stolen", "wooden", "tiny", "golden", "empty")
PLACES = ("garden", "cellar", "harbour", "tower", "kitchen", "stable", "church", "attic", "forest", "library", "mill", "well")
DEPTHS = 10
"""At so many depths of the context a needle stands, in turn."""
LEAST_RECALL = 0.5
"""A trial counts if more than this share of the needle's rest was generated."""


@dataclass(frozen=True)
class Trial:
    """A text with a needle in it, up to where the needle is to be continued.

    Args:
        ids: The tokens.
        start: The first of the needle's tokens in them.
        rest: The tokens that continue the needle's beginning, which stands at the end.
        width: How many tokens the needle has.
    """

    ids: list[int]
    start: int
    rest: list[int]
    width: int


@torch.no_grad()
def retrieval_heads(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    haystack: Sequence[str],
    *,
    trials: int = 60,
    context: int = 512,
    seed: int = 0,
) -> dict[Head, list[float]]:
    """The score of each head in each trial that the model passes.

    A head scores 1 / n for each of the n tokens that it copies: the needle's place to which it attends most, when a token is
    generated, holds that very token. A trial is passed if the tokens that greedy search gives have more than half of the needle's
    rest in them.

    Args:
        model: A decoder-only model.
        tokenizer: Its tokenizer.
        haystack: Texts that needles are hidden in, drawn at random.
        trials: How many texts; 600 in the paper's code. Their lengths are spread evenly up to ``context``, their depths over ten.
        context: Tokens of the longest one, the needle included.
        seed: Seed of needles and texts.

    Raises:
        ValueError: If the model has less room than ``context``, passes no trial, or its layers show no attention.
    """
    room = context_length(model)
    if room is not None and context > room:
        raise ValueError(f"context={context} is more than the {room} tokens that {type(model).__name__} has room for")
    generator = random.Random(seed)  # noqa: S311 - no secret
    scores: dict[Head, list[float]] = {}
    for number in range(trials):
        length = context * (number // DEPTHS + 1) // -(-trials // DEPTHS)
        trial = make_trial(tokenizer, haystack, generator, length, (number % DEPTHS) / (DEPTHS - 1))
        answer = greedy(model, trial)
        if recall(trial.rest, answer) <= LEAST_RECALL:
            continue
        for head, copied in copied_tokens(model, trial, answer).items():
            scores.setdefault(head, []).append(copied / len(trial.rest))
    if not scores:
        raise ValueError(
            f"the model continued none of {trials} needles in contexts of up to {context} tokens: a shorter context may do, or a "
            "larger model"
        )
    return scores


def needle(generator: random.Random) -> tuple[str, str]:
    """The beginning of a sentence of random words, and its rest.

    Example:
        >>> needle(random.Random(0))[0].split()[0]
        'The'
    """
    one, other, third = (f"{generator.choice(KINDS)} {generator.choice(THINGS)}" for _ in range(3))
    beginning = f"The {generator.choice(KINDS)} {generator.choice(PEOPLE)} in the {generator.choice(PLACES)}"
    return beginning, f" has a {one}, a {other} and a {third} from the {generator.choice(PLACES)}."


def make_trial(tokenizer: Any, haystack: Sequence[str], generator: random.Random, length: int, depth: float) -> Trial:
    """A needle at a depth between 0 and 1 of a text of ``length`` tokens or a little more, and its beginning after it."""

    def tokens(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    beginning, rest = needle(generator)
    cue, continued = tokens(f"\n\n{beginning}"), tokens(rest)
    sentence = [*tokens(f"\n\n{beginning}"), *continued, *tokens("\n\n")]
    straw: list[int] = []
    while len(straw) < length - len(sentence) - len(cue):
        straw += tokens(generator.choice(haystack) + "\n\n")
    straw = straw[: max(length - len(sentence) - len(cue), 0)]
    at = round(depth * len(straw))
    first = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return Trial([*first, *straw[:at], *sentence, *straw[at:], *cue], len(first) + at, continued, len(sentence))


def greedy(model: Any, trial: Trial) -> list[int]:
    """As many tokens as the needle's rest has."""
    ids = torch.tensor([trial.ids], device=ids_device(model))
    new = len(trial.rest)
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new, do_sample=False, num_beams=1
    )
    found: list[int] = output[0, len(trial.ids) :].tolist()
    return found


def recall(rest: Sequence[int], answer: Sequence[int]) -> float:
    """The share of the rest's tokens, each as often as it stands there, that are in the answer: ROUGE-1's recall.

    Example:
        >>> recall([5, 5, 6, 7], [5, 7, 9, 9])
        0.5
    """
    return sum(min(rest.count(token), answer.count(token)) for token in set(rest)) / len(rest)


def copied_tokens(model: Any, trial: Trial, answer: Sequence[int]) -> dict[Head, int]:
    """How many tokens of the answer each head copies from the needle."""
    ids = torch.tensor([[*trial.ids, *answer[:-1]]], device=ids_device(model))
    cache, read = {CACHE: new_cache(model), "use_cache": True}, len(trial.ids) - 1
    model(input_ids=ids[:, :read], **cache)
    with weights_shown(model) as attention, attention:
        output = model(input_ids=ids[:, read:], **cache, output_attentions=True)
    if not output.attentions or any(weights is None for weights in output.attentions):
        raise ValueError(f"{type(model).__name__} has layers that show no attention, so that their heads cannot be judged")
    copied: dict[Head, int] = {}
    for layer, weights in enumerate(output.attentions):
        unseen = ids.shape[1] - weights.shape[-1]  # a sliding window's cache has lost the first tokens
        places = weights[0].argmax(dim=-1) + unseen  # [heads, answer]
        within = (places >= trial.start) & (places < trial.start + trial.width)
        same = ids[0][places] == torch.tensor(answer, device=ids.device)
        copied |= {(layer, head): int(count) for head, count in enumerate((within & same).sum(dim=-1))}
    return copied


def weights_shown(model: PreTrainedModel) -> Change:
    """While it lasts, layers compute attention in the way that has its weights."""
    config = model.config.get_text_config(decoder=True)
    name = attention_name(config)
    return Change(lambda: set_attention(config, "eager"), lambda: set_attention(config, name))  # type: ignore[arg-type]


def written_heads(scores: dict[Head, list[float]]) -> dict[str, list[float]]:
    """The scores as a file has them, best heads first: ``{"LAYER-HEAD": [score of each trial, ...], ...}``.

    Example:
        >>> written_heads({(0, 1): [0.25, 0.0], (2, 0): [0.5, 0.75]})
        {'2-0': [0.5, 0.75], '0-1': [0.25, 0.0]}
    """
    best = sorted(scores, key=lambda head: -sum(scores[head]))
    return {f"{layer}-{head}": [round(each, 4) for each in scores[layer, head]] for layer, head in best}
