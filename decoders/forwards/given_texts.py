"""Given texts as one tree of tokens: what several of them have in common is there, and computed, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool
from torch import Tensor


class PrefixTree:
    """Sequences of tokens, each common beginning once. A node's number is larger than its parent's.

    Example:
        >>> tree = PrefixTree([[5, 6, 7], [5, 6, 8, 9]])
        >>> tree.tokens, tree.paths, tree.trunk
        ([5, 6, 7, 8, 9], [[0, 1, 2], [0, 1, 3, 4]], 2)
    """

    def __init__(self, sequences: Sequence[Sequence[int]] = ()) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        """-1 for the first token of a sequence."""
        self.depths: list[int] = []
        """Number of tokens before each."""
        self.paths: list[list[int]] = []
        """The nodes of each sequence."""
        self.trunk = 0
        """Length of the beginning that all sequences share: nodes 0 to trunk - 1."""
        self._children: dict[tuple[int, int], int] = {}
        for sequence in sequences:
            self.add(sequence)

    def add(self, sequence: Sequence[int]) -> None:
        """Put one more sequence into the tree."""
        node, path = -1, []
        for depth, token in enumerate(sequence):
            child = self._children.setdefault((node, token), len(self.tokens))
            if child == len(self.tokens):
                self.tokens.append(token)
                self.parents.append(node)
                self.depths.append(depth)
            node = child
            path.append(node)
        along = next((depth for depth, node in enumerate(path) if node != depth), len(path))
        self.trunk = min(self.trunk, along) if self.paths else along
        self.paths.append(path)

    def ancestors(self, held: int = 0) -> Bool[Tensor, "new nodes"]:
        """Whether the second node is the first one, or before it in its text, for the nodes after ``held`` of the trunk."""
        sees = torch.ones(len(self.tokens) - held, len(self.tokens), dtype=torch.bool).tril(held)
        for node in range(self.trunk, len(self.tokens)):
            parent = self.parents[node]
            sees[node - held, :node] = sees[parent - held, :node] if parent >= held else torch.arange(node) <= parent
        return sees


def tree_masks(
    tree: PrefixTree, held: int, windows: set[int | None], dtype: torch.dtype, device: torch.device
) -> Tensor | dict[str, Tensor]:
    """Additive masks ``[1, 1, new nodes, nodes]`` after ``held`` tokens of the trunk, per kind of layer where there are two."""
    sees = tree.ancestors(held)
    depths = torch.tensor(tree.depths)

    def mask(window: int | None) -> Tensor:
        allowed = sees if window is None else sees & (depths[held:, None] - depths < window)
        return torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)[None, None].to(device)

    if len(windows) == 1:
        return mask(*windows)
    return {"full_attention" if window is None else "sliding_attention": mask(window) for window in windows}


@dataclass(frozen=True)
class GivenTexts:
    """Prompts, each with a continuation whose tokens are to be predicted.

    A *position* is a prompt with the beginning of a continuation, the context in which a next token is predicted; texts that begin
    alike share positions. Scores ``[positions, vocabulary]`` are in the order of ``positions``.
    """

    prompts: Sequence[tuple[int, ...]]
    """The tokens of each text's prompt; in an encoder-decoder model they are the encoder's."""
    continuations: Sequence[tuple[int, ...]]
    numbers: Sequence[int]
    """The index of each text's prompt among ``number_of_prompts`` prompts."""
    number_of_prompts: int
    start: tuple[int, ...] = ()
    """The tokens that a decoder's text begins with in an encoder-decoder model; () for a model without an encoder."""
    beside: Sequence[Mapping[str, Tensor]] = ()
    """Of each of ``number_of_prompts``, what the model takes beside its text: pictures; () where there is text alone."""

    @cached_property
    def tree(self) -> PrefixTree:
        """What has to be read: all but the last tokens, which predict nothing.

        Prompts with pictures have nothing in common, though their tokens be equal: each begins with a token of its own.
        """
        prompts = self.prompts
        if self.beside:
            prompts = [(-1 - number, *prompt[1:]) for number, prompt in zip(self.numbers, prompts, strict=True)]
        return PrefixTree([(*prompt, *continuation[:-1]) for prompt, continuation in zip(prompts, self.continuations, strict=True)])

    @cached_property
    def positions(self) -> list[tuple[int, int]]:
        """For each position a text that has it, and the number of the continuation's tokens before it."""
        return [first for _, first in sorted(self._first.items())]

    @cached_property
    def where(self) -> list[list[int]]:
        """For each token of each continuation, the position that predicts it."""
        order = {node: index for index, node in enumerate(sorted(self._first))}
        return [
            [order[node] for node in path[len(prompt) - 1 :]] for prompt, path in zip(self.prompts, self.tree.paths, strict=True)
        ]

    @cached_property
    def _first(self) -> dict[int, tuple[int, int]]:
        first: dict[int, tuple[int, int]] = {}
        for text, (prompt, path) in enumerate(zip(self.prompts, self.tree.paths, strict=True)):
            for before, node in enumerate(path[len(prompt) - 1 :]):
                first.setdefault(node, (text, before))
        return first

    def written(self, text: int) -> tuple[int, ...]:
        """What a logits processor sees of a text before its continuation."""
        return self.start or self.prompts[text]

    def before(self, text: int, tokens: int) -> tuple[int, ...]:
        """What a logits processor sees of a text after the first ``tokens`` tokens of its continuation."""
        return (*self.written(text), *self.continuations[text][:tokens])

    def decoder_only(self) -> GivenTexts:
        """The texts as logits processors see them, without those of an encoder."""
        return replace(self, prompts=[self.start] * len(self.prompts), start=()) if self.start else self

    def under(self, prompts: Sequence[tuple[int, ...]]) -> GivenTexts:
        """The same continuations of other prompts, one for each of ``number_of_prompts``, or one for all.

        Raises:
            ValueError: For another number of prompts.
        """
        if len(prompts) not in (1, self.number_of_prompts):
            raise ValueError(f"prompt has {len(prompts)} rows for {self.number_of_prompts} prompts: give one other prompt for each")
        return replace(self, prompts=[prompts[number if len(prompts) > 1 else 0] for number in self.numbers], beside=())
