"""Rounds that end at a string: each text is continued to the end of its own step, so that texts differ in length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from counterpoint.decoders.hf.caches import cached_length, find_cache
from counterpoint.decoders.hf.outputs import ModelOutput
from counterpoint.decoders.hf.steps import after_forward
from counterpoint.rankers.search.proposals import Proposal, Proposer, chosen

Row = tuple[int, tuple[int, ...]]
"""Which prompt a text continues, and its new tokens so far."""
Written = Callable[[int, Sequence[int]], str]
"""The text of new tokens, from the prompt's index and the tokens."""


class StepProposer:
    """Texts that are continued to the end of a step, those of one length side by side.

    Every round reads its texts anew from their prompts' beginning, since what they hold beyond the ends of their steps could not
    be taken out of every kind of cache: beams are few, and what is sampled after them is much.

    Args:
        begin: Makes the proposer of rows of equal length, from their ids, origins and arguments of the model.
        prompts: Prompts, padded on the left.
        origins: Index of the row of ``generate``'s batch that each prompt is.
        model_kwargs: What ``generate`` prepared for the prompts.
        text: Gives the text of new tokens.
        ends: The string that ends a step.
    """

    def __init__(
        self,
        begin: Callable[[Tensor, Tensor, dict[str, Any]], Proposer],
        prompts: Int[Tensor, "prompts length"],
        origins: Int[Tensor, "prompts"],
        model_kwargs: dict[str, Any],
        text: Written,
        ends: str,
    ) -> None:
        self.begin, self.prompts, self.origins = begin, prompts, origins
        self.model_kwargs, self.text, self.ends = model_kwargs, text, ends

    def propose(self, rows: Sequence[Row], draws: int, most: int | None) -> Proposal:
        """Continue each row ``draws`` times, to the end of a step, by ``most`` tokens or until it has ended."""
        tokens: dict[int, list[tuple[int, ...]]] = {}
        ended: dict[int, list[bool]] = {}
        for length in sorted({len(new) for _, new in rows}):
            places = [place for place, (_, new) in enumerate(rows) if len(new) == length]
            found = self._of_length([rows[place] for place in places], draws, most)
            for number, place in enumerate(places):
                own = slice(number * draws, (number + 1) * draws)
                tokens[place], ended[place] = found.tokens[own], found.ended[own]
        return Proposal(
            [each for place in range(len(rows)) for each in tokens[place]],
            [each for place in range(len(rows)) for each in ended[place]],
        )

    def _of_length(self, rows: Sequence[Row], draws: int, most: int | None) -> Proposal:
        which = torch.tensor([prompt for prompt, _ in rows], device=self.prompts.device)
        new = torch.tensor([tokens for _, tokens in rows], dtype=torch.long, device=self.prompts.device)
        given = find_cache(self.model_kwargs)
        cache = deepcopy(given)  # which the rows fill
        if cache is not None and cached_length(cache):
            cache.reorder_cache(which)
        kwargs = {name: cache if value is given else chosen(value, which) for name, value in self.model_kwargs.items()}
        proposer = self.begin(torch.cat([self.prompts[which], new], dim=1), self.origins[which], kwargs)
        for _ in range(new.shape[1]):  # the mask and the positions of what was written before
            proposer.model_kwargs = after_forward(proposer.model, ModelOutput(), proposer.model_kwargs)

        def over(row: int, tokens: Sequence[int]) -> bool:
            prompt, before = rows[row // draws]
            step = self.text(prompt, [*before, *tokens])[len(self.text(prompt, before)) :]
            return self.ends in step.lstrip()  # after something of its own

        return proposer.propose(draws, most, over)
