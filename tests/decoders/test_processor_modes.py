"""Every processor in every mode of ``generate`` (laws L1 to L4 and L7)."""

from __future__ import annotations

import pytest

import processor_laws as laws
from contrast_cases import sibling
from families import FAMILY
from processor_cases import DRAFTED, FEW, OTHERS, STATES, WHOLE, subject
from processor_laws import CACHES, PROCESSED, ROWS

ALL_MODES = ROWS | PROCESSED | CACHES
each_case = pytest.mark.parametrize(("name", "case"), WHOLE + OTHERS)
each_state = pytest.mark.parametrize(("name", "case"), STATES)


@pytest.mark.parametrize(
    ("name", "case", "mode"),
    [(*pair, mode) for pairs, modes in ((WHOLE, ALL_MODES), (OTHERS, FEW)) for pair in pairs for mode in modes],
)
def test_every_mode_is_the_reference(name: str, case: str, mode: str) -> None:
    laws.equals_the_reference(*subject(name, case), **ALL_MODES[mode])


@each_case
def test_rows_are_independent(name: str, case: str) -> None:
    laws.rows_are_independent(*subject(name, case))


@pytest.mark.parametrize(("name", "case"), [pair for pair in DRAFTED if pair[0] != "mamba"])
@pytest.mark.parametrize("drafter", ["prompt lookup", "the model itself", "another model"])
def test_drafts_change_nothing(name: str, case: str, drafter: str) -> None:
    found, model, batch = subject(name, case)
    mode = {
        "prompt lookup": {"prompt_lookup_num_tokens": 3},
        "the model itself": {"assistant_model": model},
        "another model": {"assistant_model": sibling(FAMILY[name], 7)},
    }[drafter]
    laws.drafts_change_nothing(found, model, batch, **mode)


@pytest.mark.parametrize("case", ["DoLa", "SLED", "layer fusion"])
def test_a_draft_by_the_first_layers_changes_nothing(case: str) -> None:
    laws.drafts_change_nothing(*subject("llama", case), assistant_early_exit=2)


@each_state
def test_calls_do_not_meet(name: str, case: str) -> None:
    laws.calls_do_not_meet(*subject(name, case))


@each_state
@pytest.mark.parametrize("mode", ["greedy", "beams"])
def test_bans_hold(name: str, case: str, mode: str) -> None:
    laws.bans_hold(*subject(name, case), **ROWS[mode])


@each_state
def test_inputs_stay(name: str, case: str) -> None:
    laws.inputs_stay(*subject(name, case))


@pytest.mark.parametrize("case", ["model amateur", "context-aware decoding", "pooled", "DoLa", "SLED", "layer fusion"])
def test_embeds_work_or_are_refused(case: str) -> None:
    laws.embeds_work_or_are_refused(*subject("llama", case))
