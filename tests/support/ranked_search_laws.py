"""What ranked search has to give, computed from scratch for each prompt alone, and checks that raise where it gives another.

In place of random draws stands a rule, so that both are comparable: among the samples of a beam, number j takes the token of rank j
at every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from counterpoint.decoders.hf.caches import CACHE
from counterpoint.rankers import Candidate, RankedSearchOutput, Ranker, ranked_search
from families import BOS, EOS, PAD, VOCABULARY
from laws import Listener
from processor_laws import Batch, Processor, Row, Score


class Settings(NamedTuple):
    """Of a search and its reference."""

    beams: int = 2
    candidates: int = 3
    tokens_per_round: int | None = 4
    max_new_tokens: int = 10
    round_ends: str = ""
    """A character of the toy tokenizer."""


USUAL = Settings()
MOST = USUAL.max_new_tokens
SEARCH: dict[str, Any] = {"beams": USUAL.beams, "candidates": USUAL.candidates, "tokens_per_round": USUAL.tokens_per_round}
SAMPLING: dict[str, Any] = {"do_sample": True, "top_k": 0, "max_new_tokens": MOST, "pad_token_id": PAD, "eos_token_id": None}


@cache
def toy_tokenizer() -> PreTrainedTokenizerBase:
    """A character for each token of the toy families, and a name in brackets for the special ones."""
    names = {PAD: "[pad]", BOS: "[bos]", EOS: "[eos]"}
    vocabulary = {names.get(token, chr(0x4E00 + token)): token for token in range(VOCABULARY)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[pad]"))  # noqa: S106 - no password
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[pad]", bos_token="[bos]", eos_token="[eos]")  # noqa: S106


def liking(prefix: str, text: str) -> float:
    """How a text is liked: by every character at its place, differently after each prefix."""
    mood = len(prefix) + ord(prefix[-1])
    return math.fsum(math.sin(ord(character) * (place + 1) + mood) for place, character in enumerate(text))


class Liking(Ranker):
    """The ranker of that."""

    comparable = False

    def __init__(self) -> None:
        self.prefixes: list[list[str]] = []
        self.candidates: list[list[list[str]]] = []

    def prepare(self, prefixes: Sequence[str]) -> Any:
        """Keeps what it is asked."""
        self.prefixes.append(list(prefixes))

        def scorer(candidates: Sequence[Sequence[str]]) -> list[Tensor]:
            self.candidates.append([list(own) for own in candidates])
            return [torch.tensor([liking(prefix, text) for text in own]) for prefix, own in zip(prefixes, candidates, strict=True)]

        return scorer


def by_rank(scores: Tensor, number: int, candidates: int) -> int:
    """The token of rank ``number``, counted round among as many as there are samples and tokens that are allowed."""
    allowed = int((scores > -torch.inf).sum())
    return int(scores.topk(candidates).indices[number % min(candidates, allowed)])


def drawn_by_rank(candidates: int = USUAL.candidates) -> Callable[[Tensor, bool], Tensor]:
    """What takes the place of random draws."""
    return lambda scores, do_sample: torch.tensor([by_rank(own, row % candidates, candidates) for row, own in enumerate(scores)])


def search(model: PreTrainedModel, batch: Batch, processors: Sequence[Processor] = (), **kwargs: Any) -> RankedSearchOutput:
    """The search by its public name, with the tree."""
    arguments = SEARCH | SAMPLING | {"ranker": Liking(), "processing_class": toy_tokenizer()} | kwargs
    return model.generate(
        batch.ids,
        attention_mask=batch.mask,
        custom_generate=ranked_search,
        logits_processor=[*processors],
        return_dict_in_generate=True,
        **arguments,
    )


class Node(NamedTuple):
    """A candidate of the reference."""

    tokens: tuple[int, ...]
    ended: bool
    score: float
    parent: int | None


@torch.no_grad()
def reference(
    model: PreTrainedModel,
    prompt: Tensor,
    index: int = 0,
    score: Score | None = None,
    eos: Sequence[int] = (),
    settings: Settings = USUAL,
) -> list[list[Node]]:
    """All rounds for one unpadded prompt ``[length]``: every token from a forward of its whole text, without any cache."""
    kept, rounds = [Node((), False, 0.0, None)], []
    prefix = "".join(chr(0x4E00 + token) for token in prompt.tolist())
    while not all(node.ended for node in kept):
        pool = [node._replace(parent=place) for place, node in enumerate(kept) if node.ended]
        for place, node in enumerate(kept):
            for number in range(0 if node.ended else settings.candidates):
                tokens = node.tokens
                while len(tokens) < min(len(node.tokens) + (settings.tokens_per_round or 99), settings.max_new_tokens):
                    scores = next_scores(model, prompt, tokens, index, score)
                    tokens = (*tokens, by_rank(scores, number, settings.candidates))
                    if tokens[-1] in eos:
                        break
                    own = [each for each in tokens[len(node.tokens) :] if each not in (PAD, BOS, EOS)]
                    if settings.round_ends in [chr(0x4E00 + each) for each in own]:
                        break
                if tokens in [other.tokens for other in pool]:
                    continue
                ended = len(tokens) == settings.max_new_tokens or tokens[-1] in eos
                text = "".join(chr(0x4E00 + token) for token in tokens if token not in (PAD, BOS, EOS))
                pool.append(Node(tokens, ended, liking(prefix, text) if text else -math.inf, place if rounds else None))
        rounds.append(sorted(pool, key=lambda node: -node.score))
        kept = rounds[-1][: settings.beams]
    return rounds


def next_scores(model: PreTrainedModel, prompt: Tensor, new: Sequence[int], index: int, score: Score | None) -> Tensor:
    """What the token after these is drawn from."""
    if model.config.is_encoder_decoder:
        text = torch.tensor([model.generation_config.decoder_start_token_id, *new])
        logits = model(input_ids=prompt[None], decoder_input_ids=text[None], use_cache=False).logits[0, -1]
    else:
        text = torch.cat([prompt, torch.tensor(new, dtype=torch.long)])
        logits = model(text[None], use_cache=False).logits[0, -1]
    row = Row(text, torch.tensor(new, dtype=torch.long), prompt, index)
    return logits if score is None else score(row, logits)


Make = Callable[[PreTrainedModel, Batch], Sequence[Processor]]


def equals_reference(
    model: PreTrainedModel,
    batch: Batch,
    build: Make | None = None,
    score: Score | None = None,
    eos: Sequence[int] = (),
    settings: Settings = USUAL,
    **kwargs: Any,
) -> list[list[list[Candidate]]]:
    """The tree of every prompt of the batch is that of the prompt alone, from scratch, and the best text is its best."""
    ending = {"eos_token_id": list(eos)} if eos else {}
    found = search(model, batch, build(model, batch) if build else (), **(settings._asdict() | ending | kwargs))
    for number, rounds in enumerate(found.tree):
        wanted = reference(model, batch.alone(number).ids[0], batch.index[number], score, eos, settings)
        assert [[(c.tokens, c.ended, c.parent) for c in pool] for pool in rounds] == [
            [(node.tokens, node.ended, node.parent) for node in pool] for pool in wanted
        ]
        for pool, nodes in zip(rounds, wanted, strict=True):
            torch.testing.assert_close([c.score for c in pool], [node.score for node in nodes], atol=1e-4, rtol=1e-4)
        start = 1 if model.config.is_encoder_decoder else batch.ids.shape[1]
        best = wanted[-1][0]
        new = found.sequences[number, start:].tolist()
        assert new == [*best.tokens, *[PAD] * (len(new) - len(best.tokens))]
        torch.testing.assert_close(float(found.ranker_scores[number]), best.score, atol=1e-4, rtol=1e-4)
    if not model.config.is_encoder_decoder:
        assert torch.equal(found.sequences[:, : batch.ids.shape[1]], batch.ids)
    return found.tree


def some_end(model: PreTrainedModel, batch: Batch, **kwargs: Any) -> tuple[int, ...]:
    """EOS tokens with which some beams end early, in different rounds of different prompts."""
    trees = search(model, batch, **kwargs).tree
    return (trees[0][0][0].tokens[2], trees[-1][-1][1].tokens[5])


def leaves_inputs_alone(model: PreTrainedModel, batch: Batch) -> None:
    """Ids, mask and a cache that was given are what they were, and the cache serves a second search."""
    ids, mask = batch.ids.clone(), batch.mask.clone()
    fresh = search(model, batch)
    cache = model(
        ids[:, :-1], attention_mask=mask[:, :-1], position_ids=(mask.cumsum(-1) - 1).clamp(min=0)[:, :-1], use_cache=True
    )[CACHE]
    for _ in range(2):
        assert torch.equal(search(model, batch, **{CACHE: cache}).sequences, fresh.sequences)
        assert cache.get_seq_length() == ids.shape[1] - 1
    assert torch.equal(ids, batch.ids)
    assert torch.equal(mask, batch.mask)


def streams_what_stays(model: PreTrainedModel, batch: Batch, beams: int) -> None:
    """A streamer hears the prompt and the best text, in parts none of which is ever taken back."""
    listener = Listener()
    heard: list[list[int]] = []

    class Watched(Liking):
        def prepare(self, prefixes: Sequence[str]) -> Any:
            scorer = super().prepare(prefixes)

            def judged(candidates: Sequence[Sequence[str]]) -> list[Tensor]:
                heard.append(list(listener.tokens))
                return scorer(candidates)

            return judged

    found = search(model, batch, streamer=listener, ranker=Watched(), beams=beams)
    assert listener.tokens == found.sequences[0].tolist()
    assert listener.ended
    for before, pool in zip(heard[1:], found.tree[0], strict=False):
        new, kept = tuple(before[batch.ids.shape[1] :]), [each.tokens for each in pool[:beams]]
        assert all(tokens[: len(new)] == new for tokens in kept)
        assert len(new) == min(map(len, kept)) or len({tokens[len(new)] for tokens in kept}) > 1  # all that is certain
