"""Best-of-n and ranked search over an engine: it proposes, by n texts of a prompt at a time, and a ranker chooses here.

The rules are those of :func:`~counterpoint.rankers.best_of` and :func:`~counterpoint.rankers.ranked_search`; what an engine reads
of a prompt again in every round, a server with prefix caching keeps.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

from transformers import PreTrainedTokenizerBase

from counterpoint.decoders.choosing.rows import DecoderRow
from counterpoint.decoders.choosing.specs import Spec
from counterpoint.rankers.base import Ranker
from counterpoint.rankers.continuation_texts import GeneratedText
from counterpoint.rankers.engines import Beginning, Engine, Written
from counterpoint.rankers.search.beams import Beams
from counterpoint.rankers.search.proposals import Proposal

Ranked = list[tuple[Written, float]]
"""Texts with their scores, the best first; a blank one has -inf."""


def best_of_written(
    engine: Engine,
    prompt: Beginning,
    prefix: str,
    ranker: Ranker,
    decoder: Spec[DecoderRow],
    *,
    candidates: int,
    max_new_tokens: int,
    seed: int = 0,
    stop: Sequence[str] = (),
    text_of: Callable[[Written], str] = lambda written: written.text,
) -> Ranked:
    """``candidates`` continuations of a prompt, by falling s(prefix, continuation).

    Args:
        engine: What writes them.
        prompt: What is continued.
        prefix: The prompt as the ranker reads it.
        ranker: Scores them.
        decoder: How they are drawn.
        candidates: How many.
        max_new_tokens: The most tokens of each.
        seed: Seed of their random numbers.
        stop: Texts at the first of which one ends.
        text_of: A continuation as the ranker reads it.
    """
    (found,) = engine.write([prompt], decoder, max_new_tokens=max_new_tokens, n=candidates, seeds=[seed], stop=stop)
    texts = [text_of(each) for each in found]
    scores = iter(ranker.score([prefix], [[text for text in texts if text.strip()]])[0].tolist())
    scored = [(each, next(scores) if text.strip() else -math.inf) for each, text in zip(found, texts, strict=True)]
    return sorted(scored, key=lambda pair: -pair[1])


def ranked_search_written(
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    prompt: tuple[int, ...],
    prefix: str,
    ranker: Ranker,
    decoder: Spec[DecoderRow],
    *,
    beams: int = 2,
    candidates: int = 10,
    tokens_per_round: int = 20,
    max_new_tokens: int,
    seed: int = 0,
    stop: Sequence[str] = (),
) -> Ranked:
    """The last round's candidates of a ranked search, the best first; other arguments are those of :func:`best_of_written`.

    Every round asks for ``candidates`` continuations of each beam (``beams * candidates`` in the first), as tokens, so that a text
    is never tokenised again.

    Raises:
        ValueError: If the engine gives no tokens.
    """
    search = Beams(ranker.scorer([prefix]), lambda _, new: GeneratedText(tokenizer, prompt, new), 1, beams)
    finished: dict[tuple[int, ...], bool] = {}
    draws = beams * candidates
    while live := search.live():
        beginnings = [search.kept[0][place].tokens for _, place in live]
        proposal = Proposal([], [])
        most = min(tokens_per_round, max_new_tokens - len(beginnings[0]))
        asked = [seed_of(seed, beginning) for beginning in beginnings]
        found = engine.write([prompt + each for each in beginnings], decoder, max_new_tokens=most, n=draws, seeds=asked, stop=stop)
        for beginning, texts in zip(beginnings, found, strict=True):
            for each in texts:
                if each.ids is None:
                    raise ValueError("ranked_search needs an engine that gives tokens; take best_of, or vLLM with its tokenizer")
                whole = beginning + each.ids
                finished[whole] = each.finished
                proposal.tokens.append(each.ids)
                proposal.ended.append(each.finished or not each.ids or len(whole) >= max_new_tokens)
        search.grow(proposal, draws)
        draws = candidates
    return [(Written(each.text, len(each.tokens), finished[each.tokens], each.tokens), each.score) for each in search.rounds[0][-1]]


def seed_of(seed: int, beginning: Sequence[int]) -> int:
    """A seed for each beam of each round."""
    return int.from_bytes(hashlib.sha256(f"{seed} {list(beginning)}".encode()).digest()[:7], "big")
