"""A benchmark as one HTML page that needs nothing else: figures, pictures, and the texts side by side."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from counterpoint.eval.embedded import EXPERT
from counterpoint.eval.report.table import MARK, differs, heading, notes, number, partial, shown_columns

FOLDER = Path(__file__).parent
MOST_PROMPTS = 200
"""Prompts whose texts are in the page; what is left out is said there."""


def html_report(results: Mapping[str, Any], records: Sequence[Mapping[str, Any]], pictures: Mapping[str, str]) -> str:
    """The page. Everything that was generated is in it as data or escaped; its own script is the only one that a browser runs.

    Args:
        results: What :func:`~counterpoint.eval.bench.results.score_directory` gives.
        records: The generations.
        pictures: SVG documents by what they show, in words.
    """
    script = (FOLDER / "script.js").read_text(encoding="utf-8")
    run = results["config"]
    parts = {
        "title": f"Decoders of {called(run['model'])}",
        "subtitle": f"{called(run['prompts'])}, {where(run['run'])}, up to {run['run']['max_new_tokens']} new tokens",
    }
    return Template((FOLDER / "page.html").read_text(encoding="utf-8")).substitute(
        {name: escape(text) for name, text in parts.items()},
        style=(FOLDER / "style.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=policy_hash(script),
        table=table(results),
        notes="\n".join(f"<li>{with_code(note)}</li>" for note in notes(results)),
        pictures="\n".join(picture(place, words, svg) for place, (words, svg) in enumerate(pictures.items()))
        or "<p>None: they need matplotlib, <code>pip install counterpoint[plots]</code>.</p>",
        data=data(results, records),
    )


def called(name: str) -> str:
    """A model or file as strangers may see it: what is in this machine's folders by its last part.

    Example:
        >>> from counterpoint.eval.report.html import called
        >>> called("org/model"), called("/home/me/prompts.jsonl")
        ('org/model', 'prompts.jsonl')
    """
    if name == str(EXPERT):
        return "the embedded expert"
    return Path(name).name if Path(name).is_absolute() else name


def table(results: Mapping[str, Any]) -> str:
    """All figures."""
    names = sorted(shown_columns(results), key=lambda name: results["columns"][name]["detail"])
    head = "".join(f'<th scope="col">{escape(heading(results["columns"][name]))}</th>' for name in names)
    rows = [
        f'<tr><th scope="row" title="{escape(row["label"])}">{escape(row["name"])}{" (partial)" if partial(row) else ""}</th>'
        + "".join(cell(results, row, name) for name in names)
        + "</tr>"
        for row in results["rows"]
    ]
    if human := results["human"]:
        cells = [f"<td>{with_error(number(results['columns'][name], human['figures'][name]))}</td>" for name in names]
        rows.append(f'<tr class="human"><th scope="row">human</th>{"".join(cells)}</tr>')
    return (
        f'<table>\n<thead><tr><th scope="col">decoder</th>{head}</tr></thead>\n<tbody>\n' + "\n".join(rows) + "\n</tbody>\n</table>"
    )


def cell(results: Mapping[str, Any], row: Mapping[str, Any], name: str) -> str:
    """A decoder's figure, with its mark."""
    kind = ' class="best"' if row["figures"][name].get("best") else ""
    mark = MARK if differs(row["figures"][name]) else ""
    return f"<td{kind}>{with_error(number(results['columns'][name], row['figures'][name]))}{mark}</td>"


def with_error(text: str) -> str:
    """A figure whose error is smaller than itself."""
    value, space, error = escape(text).partition(" ")
    return f"{value}<small>{space}{error}</small>" if error else value


def with_code(note: str) -> str:
    """A note of the Markdown table."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(note))


def picture(place: int, words: str, svg: str) -> str:
    """An SVG document as part of the page, in its colours, its names apart from those of other pictures."""
    inner = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    inner = re.sub(r'(\bid="|url\(#|href="#)', rf"\1picture{place}-", inner)
    for colour, by in (("#000000", "currentColor"), ("#dddddd", "var(--line)"), ("fill: #ffffff", "fill: none")):
        inner = inner.replace(colour, by)
    inner = inner.replace("<svg", f'<svg role="img" aria-label="{escape(words)}"', 1)
    return f"<figure>\n{inner}\n</figure>"


def data(results: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    """The texts for the page's script, as JSON that can end no element: prompts, and for each decoder its texts by seed."""
    places = {row["label"]: place for place, row in enumerate(results["rows"])}
    decoders = [{"name": row["name"], "label": row["label"], "human": False} for row in results["rows"]]
    if results["human"]:
        decoders.append({"name": "human", "label": "the reference", "human": True})
    prompts: dict[int, dict[str, Any]] = {}
    indices = sorted({record["index"] for record in records})
    for record in records:
        if record["index"] in indices[:MOST_PROMPTS]:
            prompt = prompts.setdefault(
                record["index"], {"index": record["index"], "prompt": record["prompt"], "texts": [{} for _ in decoders]}
            )
            prompt["texts"][places[record["label"]]][record["seed"]] = record["text"]
            if record["reference"] is not None:
                prompt["texts"][-1] = {0: record["reference"]}
    content = {
        "decoders": decoders,
        "prompts": [prompts[index] for index in sorted(prompts)],
        "seeds": sorted({record["seed"] for record in records}),
        "left_out": max(0, len(indices) - MOST_PROMPTS),
    }
    return as_data(content)


def as_data(content: Any) -> str:
    r"""JSON that can end no element of a page.

    Example:
        >>> from counterpoint.eval.report.html import as_data
        >>> as_data("</script>")
        '"\\u003c/script\\u003e"'
    """
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(content, allow_nan=False))


def policy_hash(script: str) -> str:
    """What a page's policy names its own script by."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def where(run: Mapping[str, Any]) -> str:
    """The precision of a model in this process, or the server that one is behind."""
    return f"served ({run['server']})" if "server" in run else str(run["dtype"])
