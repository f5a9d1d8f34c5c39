"""Every row against the signature that it names, and everything exported against the table; the table costs no torch."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from transformers import GenerationConfig, LogitsProcessor

import counterpoint.decoders
import counterpoint.rankers
from counterpoint.decoders.amateurs.heads import MASKS
from counterpoint.decoders.choosing.own import FILLED, resolve
from counterpoint.decoders.choosing.pictures import VIEWS
from counterpoint.decoders.choosing.rows import AMATEUR, DecoderRow, Parameter, RankerRow, Row
from counterpoint.decoders.forwards.chats import MESSAGES
from counterpoint.decoders.named import DECODERS
from counterpoint.rankers.judges.measures import MEASURES
from counterpoint.rankers.judges.steps import AGGREGATES, READERS
from counterpoint.rankers.likelihood import FORMS
from counterpoint.rankers.named import RANKED, RANKERS
from counterpoint.rankers.rankgen.rankgen import TRUNCATIONS

ROWS: dict[str, Row] = {**DECODERS, **RANKED, **{f"ranker {name}": row for name, row in RANKERS.items()}}
RESOLVED = {"path", "decoder", "ranker", "proposals", "weight"}
"""Parameters that name something which is loaded or built first."""


def mismatches(row: Row) -> list[str]:
    """How a row's parameters differ from its target's signature, or from settings of ``generate``."""
    found = []
    signature = inspect.signature(resolve(row.target)).parameters if row.target else {}
    for name, parameter in row.parameters.items():
        if name in RESOLVED or (isinstance(row, DecoderRow) and name in AMATEUR and "amateur" in row.needs):
            continue
        if name in signature:
            if signature[name].default != parameter.default:
                found.append(f"{name}: {parameter.default!r} in the table, {signature[name].default!r} in the signature")
        elif not hasattr(GenerationConfig(), name):
            found.append(f"{name}: neither in the signature nor a setting of generate")
    for name, parameter in signature.items():
        plain = isinstance(parameter.default, bool | int | float | str)
        if plain and name not in row.parameters and name not in (*FILLED, "device", *ELSEWHERE.get(row.name, ())):
            found.append(f"{name}: in the signature, not in the table")
    return found


ELSEWHERE = {
    "contrastive_search": ("candidates", "sample_steps", "score_temperature", "synced_gpus"),
    "adaptive_contrastive_search": ("candidates", "synced_gpus"),
}
"""Plain arguments that are for Python alone: how the same tokens are computed, and forms of sampling."""


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_their_signatures(name: str) -> None:
    assert mismatches(ROWS[name]) == []


def test_a_row_that_is_wrong_is_found() -> None:
    row = DECODERS["dola"]
    assert mismatches(replace(row, parameters={**row.parameters, "alpha": Parameter(0.2)}))
    assert mismatches(replace(row, parameters={**row.parameters, "depth": Parameter(2)}))
    assert mismatches(replace(row, parameters={key: row.parameters[key] for key in ("layers", "alpha")}))


def made_by(target: str) -> set[object]:
    """What a target is, makes, or calls: itself, and all that its code names."""
    found = inspect.unwrap(resolve(target))
    code = getattr(found, "__code__", None)
    named = () if code is None else (found.__globals__.get(name) for name in code.co_names)
    return {found, *(inspect.unwrap(each) for each in named if callable(each))}


def test_every_exported_decoder_has_a_row() -> None:
    exported = [getattr(package, name) for package in (counterpoint.decoders, counterpoint.rankers) for name in package.__all__]
    reached: set[object] = set()
    for row in (*DECODERS.values(), *RANKED.values()):
        reached |= made_by(row.target) if row.target else set()
    missing = [each.__name__ for each in exported if is_decoder(each) and inspect.unwrap(each) not in reached]
    assert missing == ["ContrastiveSearchLogitsProcessor"]  # contrastive search where its loop cannot run


def is_decoder(each: Any) -> bool:
    """Whether it is a class of logits processors that can be used, or a ``custom_generate`` callable."""
    if isinstance(each, type):
        return issubclass(each, LogitsProcessor) and not inspect.isabstract(each)
    return inspect.isfunction(each) and "generation_config" in inspect.signature(each).parameters


def test_every_exported_ranker_has_a_row() -> None:
    from counterpoint.rankers import Ranker

    reached = {each for row in RANKERS.values() for each in made_by(row.target)}
    exported = [getattr(counterpoint.rankers, name) for name in counterpoint.rankers.__all__]
    rankers = [each for each in exported if isinstance(each, type) and issubclass(each, Ranker) and not inspect.isabstract(each)]
    assert [each.__name__ for each in rankers if each not in reached] == ["CombinedRanker"]  # several of them, with weights


@pytest.mark.parametrize("module", ["counterpoint.decoders.named", "counterpoint.rankers.named", "counterpoint.eval.choosing"])
def test_tables_cost_no_torch(module: str) -> None:
    program = f"import sys, {module}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_rows_are_complete() -> None:
    for row in (*DECODERS.values(), *RANKED.values()):
        assert row.summary
        assert row.kind == "settings" or row.target
        assert isinstance(row.rows, int) or row.rows in row.parameters
        for parameter in row.parameters.values():
            numeric = isinstance(parameter.default, int | float) and not isinstance(parameter.default, bool)
            assert not numeric or parameter.low <= parameter.default <= parameter.high  # type: ignore[operator]
    assert all(isinstance(row, RankerRow) and row.summary and row.target for row in RANKERS.values())


WORDS: dict[str, tuple[dict[str, tuple[str, ...]], str]] = {
    "dola": ({"layers": ("low", "high", "2+4")}, "hgh"),
    "layer_fusion": ({"layers": ("middle", "3")}, "2-4"),
    "lol": ({"layers": ("middle", "1,3"), "message": ("", *MESSAGES)}, "assistant"),
    "decore": ({"beta": ("entropy", "0.5"), "mask": MASKS}, "nan"),
    "visual_contrastive": ({"view": VIEWS}, "blur"),
    "ranker rankgen": ({"truncation": TRUNCATIONS}, "left"),
    "ranker likelihood": ({"form": FORMS}, "mean"),
    "ranker confidence": ({"measure": MEASURES}, "highest"),
    "ranker process_reward": ({"format": tuple(READERS), "aggregate": AGGREGATES}, "sum"),
}
"""Words that the parameters of a row take, by the code that reads them, and one that they do not."""


@pytest.mark.parametrize("name", WORDS)
def test_words_of_parameters(name: str) -> None:
    """The table takes what the code takes and refuses the rest, so that it is refused before a model is loaded."""
    taken, wrong = WORDS[name]
    for key, words in taken.items():
        parameter = ROWS[name].parameters[key]
        assert [parameter.read(key, word) for word in words] == list(words)
        with pytest.raises(ValueError, match=f"{key}={wrong}"):
            parameter.read(key, wrong)


def test_words_without_a_check_are_found() -> None:
    assert Parameter("high").read("layers", "hgh") == "hgh"
