"""Texts that a model continues by some tokens, of which a search then keeps some and repeats others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from counterpoint.decoders.checks import check_cache, check_logits
from counterpoint.decoders.hf.caches import cached_length, find_cache, is_static
from counterpoint.decoders.hf.generate_call import continuing
from counterpoint.decoders.hf.outputs import ModelOutput
from counterpoint.decoders.hf.steps import GenerativeModel, after_forward, next_inputs, padding_token, prefill

Over = Callable[[int, Sequence[int]], bool]
"""Whether a row's new tokens are enough for a round."""


class Proposal(NamedTuple):
    """What was appended to each row."""

    tokens: list[tuple[int, ...]]
    """The new tokens, the one that ended the row included."""
    ended: list[bool]
    """Whether a stopping criterion ended the row, the longest length among them."""


class Proposer:
    """Rows of text and the model's cache of them, continued as ``generate`` does without beams.

    The cache holds all tokens but the last, which is read when the row is continued: once, however often it is repeated.

    Args:
        model: Any model with ``generate``.
        input_ids: Prompts, padded on the left.
        origins: Index of the row of ``generate``'s batch that each prompt is.
        processors: Called with a row's ids and logits at every token, as in greedy search and in sampling.
        criteria: Called with its ids after every token.
        config: Says whether to sample.
        model_kwargs: The rest of what ``generate`` prepared; a cache among it stays as it is.
    """

    def __init__(
        self,
        model: GenerativeModel,
        input_ids: Int[Tensor, "rows length"],
        origins: Int[Tensor, "rows"],
        processors: LogitsProcessorList,
        criteria: StoppingCriteriaList,
        config: GenerationConfig,
        model_kwargs: dict[str, Any],
    ) -> None:
        self.model, self.ids, self.origins = model, input_ids, origins
        self.processors, self.criteria, self.config = processors, criteria, config
        given = find_cache(model_kwargs)
        self.model_kwargs = {
            name: deepcopy(value) if value is given and cached_length(value) else value for name, value in model_kwargs.items()
        }
        self.begun = False

    def propose(self, draws: int, most: int | None, over: Over | None = None) -> Proposal:
        """Continue each row ``draws`` times, by ``most`` tokens or, if None, until all have ended.

        A row's continuations are rows side by side afterwards. One of which ``over`` says that its new tokens are enough waits for
        the others; it is not to be continued after that.
        """
        scores = self._scores()
        check_logits(scores)
        start = self.ids.shape[1]
        if draws > 1:
            self.select([row for row in range(len(self.ids)) for _ in range(draws)])
            scores = scores.repeat_interleave(draws, dim=0)
        ended = torch.zeros(len(self.ids), dtype=torch.bool, device=self.ids.device)
        waits = torch.zeros_like(ended)
        lengths = torch.zeros(len(self.ids), dtype=torch.long, device=self.ids.device)
        padding = padding_token(self.config)
        while True:
            tokens = draw(scores, bool(self.config.do_sample))
            if padding is not None:
                tokens = torch.where(ended | waits, padding.to(tokens.device), tokens)
            self.ids = torch.cat([self.ids, tokens[:, None]], dim=1)
            lengths += ~(ended | waits)
            ended = ended | (self.criteria(self.ids, None) & ~waits)
            if over is not None:
                going = (~(ended | waits)).nonzero().flatten().tolist()
                waits[[row for row in going if over(row, self.ids[row, start:].tolist())]] = True
            if self.ids.shape[1] - start == most or bool((ended | waits).all()):
                break
            scores = self._scores()
        new = self.ids[:, start:].tolist()
        return Proposal([tuple(row[:length]) for row, length in zip(new, lengths.tolist(), strict=True)], ended.tolist())

    def select(self, chosen_rows: Sequence[int]) -> None:
        """Go on with these rows, some of them more than once it may be."""
        rows = torch.tensor(chosen_rows, dtype=torch.long, device=self.ids.device)
        self.ids, self.origins = self.ids[rows], self.origins[rows]
        cache = find_cache(self.model_kwargs)
        self.model_kwargs = {name: value if value is cache else chosen(value, rows) for name, value in self.model_kwargs.items()}
        if cache is not None:
            cache.reorder_cache(rows)

    def _scores(self) -> Float[Tensor, "rows vocabulary"]:
        """The next token's, as the processors leave them, from a forward of what the cache does not hold."""
        if self.begun:
            inputs = next_inputs(self.model, self.ids, bool(self.config.use_cache), self.model_kwargs)
            output = self.model(**inputs, return_dict=True)
        else:
            output = prefill(self.model, self.ids, self.config, self.model_kwargs)
            check_cache(self.model, find_cache(output), bool(self.config.use_cache))
            if isinstance(cache := find_cache(output), Cache) and is_static(cache):
                raise ValueError(f"{type(cache).__name__} has no room for other rows; leave out cache_implementation")
            self.begun = True
        self.model_kwargs = after_forward(self.model, output, self.model_kwargs)
        logits = output.logits[:, -1].to(copy=True, dtype=torch.float32, device=self.ids.device)
        with continuing(self.origins) as rows, rows:
            scores: Tensor = self.processors(self.ids, logits)  # type: ignore[arg-type]
        return scores


def draw(scores: Float[Tensor, "rows vocabulary"], do_sample: bool) -> Int[Tensor, "rows"]:
    """A token a row of softmax(scores), as ``generate`` draws it, or the most probable one."""
    if not do_sample:
        return scores.argmax(dim=-1)
    return torch.multinomial(scores.softmax(dim=-1), num_samples=1).squeeze(1)


def chosen(value: Any, rows: Int[Tensor, "chosen"]) -> Any:
    """The rows of a model's argument: of a tensor, or of the encoder's output."""
    if isinstance(value, Tensor):
        return value.index_select(0, rows.to(value.device))
    if isinstance(value, ModelOutput):
        return type(value)(**{name: chosen(part, rows) for name, part in value.items() if isinstance(part, Tensor)})
    return value
