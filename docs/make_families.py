"""Write ``families.md``: every method on every family that transformers can generate with, judged against references.

Usage: ``python make_families.py`` judges the families that the page has not judged yet, ``python make_families.py NAME ...`` those
named, such as ``llama:LlamaForCausalLM``. The page is written after each, so that an interrupted run goes on where it was.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import transformers

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "families.md"
sys.path.insert(0, str(ROOT / "tests" / "support"))

from every_family import MAPPINGS, names  # noqa: E402
from family_sweep import METHODS, Outcome, sweep  # noqa: E402

Row = Mapping[str, str]
"""What a family's row has in each column."""
COLUMNS = ("transformers", *METHODS)
LATER = "not yet judged"

INTRODUCTION = """# Families of models

What each method gives on each family that transformers {release} can generate with: on a tiny random model of the family's default
configuration, a text alone and a left-padded batch, compared score by score or choice by choice with references that compute whole
texts anew without a cache.

- **right**: as the reference, alone and padded.
- **refused**: a `ValueError` says why, and what to use instead.
- **inconsistent**: transformers' own greedy search differs with and without a cache ("cache" in its column), so that there is
  nothing to be right about. "padding" says that it differs for a left-padded row; a method is then judged on a text alone.
- **not judged**: the family writes no text after a text alone, for the reason that its row says. What an encoder sees or hears is
  given to it: a tiny picture or sound.

[Pictures in the prompt](../tests/decoders/test_pictures.py) have tests of their own. `python docs/make_families.py` makes this
page, and `pytest -m families` holds it to what is found.
"""


def rows_of(page: str) -> dict[str, Row]:
    """The rows of a page, by family."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")]
    return {cell[0].strip("`"): dict(zip(COLUMNS, cell[1:], strict=True)) for cell in cells}


def row_of(outcomes: Mapping[str, Outcome]) -> Row:
    """The row of a family from what the sweep gives."""
    own = outcomes["transformers"]
    first = f"not judged: {own.why}" if own.verdict == "crash" else own.why
    return {"transformers": first} | {method: outcomes[method].verdict if method in outcomes else "" for method in METHODS}


def page_of(rows: Mapping[str, Row]) -> str:
    """The page with these rows, and a line for each family that has none."""
    parts = [INTRODUCTION.format(release=transformers.__version__), totals(rows)]
    for kind in MAPPINGS:
        parts.append(f"## {kind[0].upper()}{kind[1:]}\n")
        parts.append(f"| family | {' | '.join(COLUMNS)} |\n|{'---|' * (1 + len(COLUMNS))}")
        for name in names(kind):
            row = rows.get(name, {"transformers": LATER})
            parts.append(f"| `{name}` | {' | '.join(row.get(column, '') for column in COLUMNS)} |")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def totals(rows: Mapping[str, Row]) -> str:
    """How many families there are of each verdict, by method."""
    verdicts = ("right", "refused", "inconsistent", "wrong", "crash")
    lines = [f"| method | {' | '.join(verdicts)} |", f"|{'---|' * (1 + len(verdicts))}"]
    for method in METHODS:
        found = [row.get(method) for row in rows.values()]
        lines.append(f"| {method} | {' | '.join(str(found.count(verdict)) for verdict in verdicts)} |")
    return "\n".join([*lines, ""])


def main(wanted: list[str]) -> None:
    """Judge the families ``wanted``, or those that the page lacks, and write each into the page."""
    rows = rows_of(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    rows = {name: row for name, row in rows.items() if row["transformers"] != LATER}
    for name in wanted or [name for name in names() if name not in rows]:
        rows[name] = row_of(sweep(name))
        PAGE.write_text(page_of(rows), encoding="utf-8")
    PAGE.write_text(page_of(rows), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
