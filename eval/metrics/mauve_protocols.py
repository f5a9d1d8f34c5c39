"""What the papers compare when they report MAUVE: the same two sets of texts have another figure under each.

A figure of one protocol says nothing beside a figure of another, nor beside one of the same protocol with another featuriser,
another number of texts or texts of another length.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from counterpoint.eval.embedded import EXPERT


@dataclass(frozen=True)
class MauveProtocol:
    """How texts are prepared, and the model whose features are compared."""

    name: str
    source: str
    """The paper, and the code where it says what the paper does not."""
    featurizer: str
    """The model whose terminal hidden states are the features: a name on the Hugging Face hub, or a folder."""
    max_length: int
    """Tokens of a text that the featuriser reads, from the start."""
    cut: int | Literal["shorter"] | None
    """Continuation and reference are cut to that many tokens, and a pair in which one has fewer is left out; or both to the
    length of the shorter; or not at all."""
    prompted: bool
    """Whether the prompt stands before both, a space between them."""
    human: Literal["p", "q"]
    """Which of MAUVE's two arguments the references are: the measure is symmetric, its clusters are not."""
    published: bool = True
    """Whether there are figures of this protocol to compare with."""

    @property
    def summary(self) -> str:
        """The protocol in a line."""
        cuts: dict[Any, str] = {None: "not cut", "shorter": "both cut to the length of the shorter"}
        reader = "the embedded expert" if self.featurizer == str(EXPERT) else self.featurizer
        return "; ".join(
            [
                "prompt and continuation" if self.prompted else "continuation only",
                cuts.get(self.cut, f"both cut to {self.cut} tokens, pairs with fewer left out"),
                f"the first {self.max_length} tokens read by {reader}",
                f"the references are {self.human}",
            ]
        )


CONTRASTIVE_SEARCH = MauveProtocol(
    name="contrastive_search",
    source="Su and Collier (2023), Contrastive Search Is What You Need For Neural Text Generation, arXiv 2210.14140, as released",
    featurizer="gpt2-large",
    max_length=200,
    cut="shorter",
    prompted=False,
    human="p",
)
"""Su and Collier (2023), and papers that use their script."""

CONTRASTIVE_DECODING = MauveProtocol(
    name="contrastive_decoding",
    source="Li et al. (2023), Contrastive Decoding: Open-ended Text Generation as Optimization, arXiv 2210.15097, as released",
    featurizer="gpt2",
    max_length=256,
    cut=128,
    prompted=False,
    human="p",
)
"""Li et al. (2023), and Su and Xu (2022, arXiv 2211.10797), who compare contrastive search with it."""

RANKGEN = MauveProtocol(
    name="rankgen",
    source="Krishna et al. (2022), RankGen: Improving Text Generation with Large Ranking Models, arXiv 2205.09726, as released",
    featurizer="gpt2-large",
    max_length=768,
    cut=None,
    prompted=True,
    human="q",
)
"""Krishna et al. (2022)."""

MAUVE_TEXT = MauveProtocol(
    name="mauve_text",
    source="Pillutla et al. (2021), MAUVE: Measuring the Gap Between Neural Text and Human Text, arXiv 2102.01454; their library",
    featurizer="gpt2-large",
    max_length=1024,
    cut=None,
    prompted=False,
    human="p",
)
"""What ``mauve.compute_mauve(p_text=references, q_text=continuations)`` does by default."""

COUNTERPOINT = MauveProtocol(
    name="counterpoint",
    source="this library",
    featurizer=str(EXPERT),
    max_length=256,
    cut="shorter",
    prompted=False,
    human="p",
    published=False,
)
"""The default of ``counterpoint bench``: it runs without a network. The features are those of a small model, which tells texts
apart by other and coarser traits than GPT-2 does: its figures are never to be compared with published ones."""

PROTOCOLS: Mapping[str, MauveProtocol] = MappingProxyType(
    {each.name: each for each in (COUNTERPOINT, CONTRASTIVE_SEARCH, CONTRASTIVE_DECODING, RANKGEN, MAUVE_TEXT)}
)
"""The protocols by name."""


def protocol_named(name: str) -> MauveProtocol:
    """The protocol of that name.

    Raises:
        ValueError: If there is none.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"protocol={name!r}: the protocols are {', '.join(PROTOCOLS)}, or a MauveProtocol of your own")
    return PROTOCOLS[name]


def apply(
    protocol: MauveProtocol, prompts: Sequence[str], continuations: Sequence[str], references: Sequence[str], tokenizer: Any
) -> tuple[list[str], list[str]]:
    """The human and the generated texts that a protocol compares, as many of each.

    Pairs of which one text is empty, or only white space, are left out, as are those that the protocol leaves out.

    Args:
        protocol: What to do.
        prompts: What was continued.
        continuations: What was generated, without the prompts.
        references: What people wrote in its place.
        tokenizer: That of the featuriser, in whose tokens lengths are counted.

    Returns:
        Human texts and generated texts.

    Raises:
        ValueError: If the three have different lengths.

    Example:
        >>> from transformers import AutoTokenizer
        >>> from counterpoint.eval import EXPERT
        >>> from counterpoint.eval.metrics.mauve_protocols import COUNTERPOINT, RANKGEN, apply
        >>> tokenizer = AutoTokenizer.from_pretrained(EXPERT)
        >>> apply(COUNTERPOINT, ["It was"], [" the sea"], [" the sea, and the land"], tokenizer)
        ([' the sea'], [' the sea'])
        >>> apply(RANKGEN, ["It was"], [" the sea"], [" the sea, and the land"], tokenizer)
        (['It was the sea, and the land'], ['It was the sea'])
    """
    if not len(prompts) == len(continuations) == len(references):
        raise ValueError(
            f"{len(prompts)} prompts, {len(continuations)} continuations, {len(references)} references: pass one of each a text; "
            "where a prompt is continued several times, measure one set of continuations at a time"
        )
    pairs = []
    for prompt, continuation, reference in zip(prompts, continuations, references, strict=True):
        pair = (reference, continuation)
        if protocol.cut is not None:
            pair = cut_pair(pair, protocol.cut, tokenizer)
        if protocol.prompted:
            pair = (f"{prompt} {single_spaced(pair[0])}", f"{prompt} {single_spaced(pair[1])}")
        if all(text.strip() for text in pair):
            pairs.append(pair)
    return [human for human, _ in pairs], [generated for _, generated in pairs]


def cut_pair(pair: tuple[str, str], cut: int | Literal["shorter"], tokenizer: Any) -> tuple[str, str]:
    """Both texts cut to the same number of tokens; two empty ones if one has fewer than ``cut``.

    The released scripts decode what they keep with the spaces before punctuation taken out, which was the default of the day.
    """
    one, other = (tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] for text in pair)
    shorter = min(len(one), len(other))
    length = shorter if cut == "shorter" else cut
    if shorter < length:
        return "", ""
    return tidy(tokenizer.decode(one[:length])), tidy(tokenizer.decode(other[:length]))


def tidy(text: str) -> str:
    """A text without the spaces that tokenised corpora have before punctuation and within contractions.

    Example:
        >>> from counterpoint.eval.metrics.mauve_protocols import tidy
        >>> tidy("It 's late , is n't it ?")
        "It's late, isn't it?"
    """
    text = re.sub(r" ([.?!,])", r"\1", text).replace(" ' ", "'")
    return re.sub(r" (n't|'m|'s|'ve|'re)", r"\1", text)


def single_spaced(text: str) -> str:
    """A text's words with one space between them."""
    return " ".join(text.split())
