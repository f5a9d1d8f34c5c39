"""The README of a trained ranker: what it is, how good it is, how it was made, how to use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.eval.training.cards import releases, settings_table

SETTINGS = (
    "prefix_words continuation_words negatives top_p learning_rate warmup epochs batch_size micro_batch_size processes bf16 seed"
).split()
"""What the record calls them."""
KINDS = {
    "in_book": "in-book: other continuations of the same text",
    "generated": "generated: written by {generator} for that prefix",
}

CARD = """\
---
base_model: {model}
tags:
- counterpoint
---

# A ranker of continuations, from {model}

It scores how well a continuation follows a prefix, as the dot product of a vector of each: RankGen's way (Krishna et al. 2022,
arXiv 2205.09726).

## Use

```python
from counterpoint.rankers import {ranker}

ranker = {call}({folder})
(scores,) = ranker.score(["The whale rose before the boat."], [[" The men pulled at the oars.", " The tea was cold."]])
print(scores)  # higher is better
```

## Accuracy

{accuracy}
## Training

{passages} passages of {documents} texts{without}, {steps} steps of AdamW on InfoNCE: each minibatch is of one text, whose other
continuations are negatives{generated}.

{settings}

{versions}
"""


def card(output: Path, record: Mapping[str, Any], ranker: str) -> str:
    """The text.

    Args:
        output: Where the ranker lies.
        record: What ``training.json`` holds.
        ranker: What loads it, the class or a method of it.
    """
    return CARD.format(
        model=record["model"],
        ranker=ranker.partition(".")[0],
        call=ranker,
        folder=json.dumps(str(output)),
        accuracy=accuracy(record),
        passages=record["passages_used"],
        documents=record["documents"],
        without=f" ({record['without_negatives']} with fewer generated negatives)" if record["without_negatives"] else "",
        steps=record["steps"],
        generated=f", as are {record['negatives']} a passage that {record['generator']} wrote" if record["negatives"] else "",
        settings=settings_table(record, SETTINGS),
        versions=releases(record),
    )


def accuracy(record: Mapping[str, Any]) -> str:
    """The table of accuracies, or that there is none."""
    if not record["after"]:
        return "No held-out texts were given to measure it on.\n"
    rows = "\n".join(
        f"| {text.format(generator=record['generator'])} | {share(record['before'][kind])} | {share(record['after'][kind])} |"
        for kind, text in KINDS.items()
        if kind in record["after"]
    )
    chance = 100 / (record["wrong"] + 1)
    return (
        f"How often it scores the true continuation highest, among itself and {record['wrong']} wrong ones, after\n"
        f"{record['measured']} prefixes of held-out texts, with 95 % bootstrap intervals. Chance is {chance:.0f} %.\n\n"
        f"| wrong continuations | before training | after |\n|---|---|---|\n{rows}\n"
    )


def share(value: Mapping[str, float]) -> str:
    """An accuracy in percent with its interval."""
    return f"{100 * value['mean']:.1f} % ({100 * value['low']:.1f} to {100 * value['high']:.1f})"
