"""The texts of a benchmark as the page's script reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from counterpoint.eval.bench.per_text import values_of_each
from counterpoint.eval.bench.records import HUMAN
from counterpoint.eval.report.figures import shown_columns

MOST_CHARACTERS = 12_000_000
"""Characters of the texts in a page; prompts for whose texts there is no more room are left out, which is said there."""


def texts_data(results: Mapping[str, Any], records: Sequence[Mapping[str, Any]], per_text: Mapping[str, Any]) -> dict[str, Any]:
    """Prompts, and for each decoder its texts with their figures, by seed."""
    places = {row["label"]: place for place, row in enumerate(results["rows"])}
    decoders = [{"name": row["name"], "label": row["label"], "human": False} for row in results["rows"]]
    if results["human"]:
        decoders.append({"name": HUMAN, "label": "the reference", "human": True})
        places[HUMAN] = len(places)
    prompts: dict[int, dict[str, Any]] = {}
    for record in records:
        prompt = prompts.setdefault(
            record["index"],
            {
                "index": record["index"],
                "prompt": record["prompt"],
                "texts": [{} for _ in decoders],
                "figures": [{} for _ in decoders],
            },
        )
        prompt["texts"][places[record["label"]]][record["seed"]] = record["text"]
        if record["reference"] is not None:
            prompt["texts"][-1] = {0: record["reference"]}
    columns = [name for name in shown_columns(results) if not results["columns"][name]["detail"] and name in per_text["columns"]]
    for column, name in enumerate(columns):
        digits = results["columns"][name]["digits"]
        for label, place in places.items():
            for seed, values in values_of_each(results, per_text, name, label).items():
                for index, value in values.items():
                    own = prompts[index]["figures"][place].setdefault(seed, [None] * len(columns))
                    own[column] = rounded(value, digits)
    shown = within([prompts[index] for index in sorted(prompts)], MOST_CHARACTERS)
    return {
        "decoders": decoders,
        "figures": [figure(results, name) for name in columns],
        "prompts": shown,
        "seeds": sorted({record["seed"] for record in records}),
        "left_out": len(prompts) - len(shown),
    }


def figure(results: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A column of which every text has a figure."""
    column = results["columns"][name]
    human = results["human"]["figures"][name]["value"] if results["human"] else None
    return {key: column[key] for key in ("title", "better", "digits")} | {"human": human}


def rounded(value: float, digits: int) -> float | int:
    """As many digits as are shown."""
    found = round(value, digits)
    return int(found) if found.is_integer() else found


def within(prompts: Sequence[dict[str, Any]], room: int) -> list[dict[str, Any]]:
    """The first prompts, as many as there is room for their texts, and one at least."""
    kept: list[dict[str, Any]] = []
    used = 0
    for prompt in prompts:
        used += len(prompt["prompt"]) + sum(len(text) for seeds in prompt["texts"] for text in seeds.values())
        if kept and used > room:
            break
        kept.append(prompt)
    return kept
