"""What a reader is told of each metric on demand: its kind, what it says and does not say, its page and its paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GROUPS = ("quality", "diversity", "likelihood", "length", "speed")
"""Kinds of figures, in the order of the table."""


@dataclass(frozen=True)
class About:
    """A metric in words."""

    group: str
    says: str
    page: str = ""
    """Its page among the documentation's metrics."""
    papers: tuple[str, ...] = ()
    """arXiv ids."""


ABOUT: Mapping[str, About] = {
    "mauve": About(
        "quality",
        "How close a decoder's texts are, as a set, to human texts: 1 where a language model's features cannot tell the two sets "
        "apart, near 0 where they have nothing in common. With fewer than a thousand texts it comes out too high and means little.",
        "mauve",
        ("2102.01454", "2212.14578"),
    ),
    "embedding_coherence": About(
        "quality",
        "The cosine of a text's sentence vector and its prompt's: whether it keeps to the subject, not whether it follows from it.",
        "embedding_coherence",
        ("2210.15097",),
    ),
    "diversity": About(
        "diversity",
        "rep-n is the share of n-grams that repeat an earlier one of the same text; diversity is the product of what rep-2, rep-3 "
        "and rep-4 leave. Low where texts loop. More diverse than people is not better than people.",
        "diversity",
        ("2210.14140",),
    ),
    "distinct": About(
        "diversity",
        "Which share of the n-grams of all texts together are different: low if texts repeat themselves or are alike.",
        "distinct",
        ("1510.03055",),
    ),
    "self_bleu": About(
        "diversity",
        "How much of a text is found in the decoder's other texts: low where they differ from each other.",
        "self_bleu",
        ("1802.01886",),
    ),
    "zipf": About(
        "diversity",
        "How fast the frequency of words falls with their rank: above the human value a few words take too much of the text.",
        "zipf",
        ("1904.09751",),
    ),
    "coherence": About(
        "likelihood",
        "How far another language model finds a text what one would expect after its prompt: the mean log-probability of its "
        "tokens, and perplexity over all tokens. Nothing is as likely as repetition: read it beside diversity.",
        "likelihood_coherence",
        ("2211.10797",),
    ),
    "length": About(
        "length",
        "How many words a text has, and the share of texts that end in a phrase said again and again. Most other metrics depend on "
        "length: look at it first.",
        "length",
        ("1904.09751",),
    ),
    "speed": About(
        "speed",
        "Tokens a second beside greedy search's, on this model, this machine and this batch size; the most memory meanwhile.",
        "speed",
    ),
}
"""By the metric's name."""


def about(column: Mapping[str, Any]) -> About:
    """A metric of ours, or somebody's own, of which its name is all that is known."""
    return ABOUT.get(column["metric"]) or About("quality", f"Somebody's own metric, {column['metric']}: the mean over texts.")


def grouped(results: Mapping[str, Any], names: list[str]) -> dict[str, list[str]]:
    """Columns by their kinds, in each the main ones first."""
    found = {group: [name for name in names if about(results["columns"][name]).group == group] for group in GROUPS}
    return {group: sorted(own, key=lambda name: results["columns"][name]["detail"]) for group, own in found.items() if own}
