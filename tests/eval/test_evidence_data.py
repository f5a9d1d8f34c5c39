"""The sets that the evidence is measured on are those that their script writes, and say what they are said to say."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "evidence" / "make_data.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("make_data", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_data"] = module  # for its dataclass
    spec.loader.exec_module(module)
    return module


def shipped(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (ROOT / "eval" / "data" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", ["changed_facts", "arithmetic"])
def test_the_script_writes_what_is_shipped(script: Any, name: str) -> None:
    assert list(getattr(script, name)()) == shipped(name)


def test_passages_say_the_changed_fact_and_not_the_true_one() -> None:
    items = shipped("changed_facts")
    assert len(items) >= 200
    assert len({each["prompt"] for each in items}) == len(items)
    for each in items:
        passage, true_passage = each["prompt"].split("\n\n")[0], each["true_prompt"].split("\n\n")[0]
        changed, true = each["changed"].strip(), each["true"].strip()
        assert changed != true
        assert re.search(rf"\b{re.escape(changed)}", passage)
        assert re.search(rf"\b{re.escape(true)}", true_passage)
        assert each["prompt"].split("\n\n")[1] == each["true_prompt"].split("\n\n")[1]


def test_sums_come_out() -> None:
    """By the numbers in their sentences, without the script."""
    solve = {
        "gives": lambda n: n[0] + n[1],
        "gave": lambda n: n[0] - n[1],
        "boxes": lambda n: n[0] * n[1],
        "loses": lambda n: n[0] + n[1] - n[2],
        "together": lambda n: 2 * n[0] + n[1],
        "equally": lambda n: n[0] // n[1],
    }
    for each in shipped("arithmetic"):
        numbers = [int(found) for found in re.findall(r"\d+", each["prompt"])]
        kind = next(word for word in solve if re.search(rf"\b{word}\b", each["prompt"]))
        assert solve[kind](numbers) == int(each["answer"]) >= 1
