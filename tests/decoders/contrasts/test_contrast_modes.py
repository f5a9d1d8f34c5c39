"""Contrastive decoding and its kin in every mode of ``generate`` (laws L1 to L4 and L7)."""

from __future__ import annotations

from typing import Any

import pytest

import processor_laws as laws
from contrast_cases import FAMILY, context_case, encoder_decoder_case, model_case, pooled_case, reasoning_case, sibling
from processor_laws import CACHES, PROCESSED, ROWS, Batch, Case

EXPERTS = ["llama", "gpt2_tied", "gemma3_sliding", "bloom", "mamba"]
AMATEURS = ["opt", "gpt_neo_local", "llama4_chunked", "deepseek_v3", "mpt", "lfm2", "falcon_h1", "rwkv", "recurrent_gemma"]


def cases(name: str) -> dict[str, Case]:
    other = sibling(FAMILY[name])
    if FAMILY[name].kind == "encoder_decoder":
        return {str(case): case for case in (encoder_decoder_case(other), context_case())}
    return {str(case): case for case in (model_case(other), reasoning_case(other), context_case(), pooled_case(other))}


MATRIX = [
    *((name, "model amateur") for name in EXPERTS),
    ("llama", "extrapolation"),
    ("llama", "pooled"),
    ("llama", "context-aware decoding"),
    ("gemma3_sliding", "context-aware decoding"),
    ("bart", "encoder-decoder amateur"),
    ("t5", "context-aware decoding"),
]
each_case = pytest.mark.parametrize(("name", "case"), MATRIX)


def subject(name: str, case: str) -> tuple[Case, Any, Batch]:
    model = FAMILY[name].build()
    return cases(name)[case], model, laws.batch_of(FAMILY[name], model)


@each_case
@pytest.mark.parametrize("mode", [*ROWS, *PROCESSED, *CACHES])
def test_every_mode_is_the_reference(name: str, case: str, mode: str) -> None:
    laws.equals_the_reference(*subject(name, case), **(ROWS | PROCESSED | CACHES)[mode])


@each_case
def test_rows_are_independent(name: str, case: str) -> None:
    laws.rows_are_independent(*subject(name, case))


@pytest.mark.parametrize(("name", "case"), [pair for pair in MATRIX if pair[0] != "mamba"])  # which transformers does not assist
@pytest.mark.parametrize("drafter", ["prompt lookup", "the model itself", "another model"])
def test_drafts_change_nothing(name: str, case: str, drafter: str) -> None:
    found, model, batch = subject(name, case)
    mode = {
        "prompt lookup": {"prompt_lookup_num_tokens": 3},
        "the model itself": {"assistant_model": model},
        "another model": {"assistant_model": sibling(FAMILY[name], 7)},
    }[drafter]
    laws.drafts_change_nothing(found, model, batch, **mode)


@each_case
def test_calls_do_not_meet(name: str, case: str) -> None:
    laws.calls_do_not_meet(*subject(name, case))


@each_case
@pytest.mark.parametrize("mode", ["greedy", "beams"])
def test_bans_hold(name: str, case: str, mode: str) -> None:
    laws.bans_hold(*subject(name, case), **ROWS[mode])


@each_case
def test_inputs_stay(name: str, case: str) -> None:
    laws.inputs_stay(*subject(name, case))


@pytest.mark.parametrize("case", ["model amateur", "context-aware decoding", "pooled"])
def test_embeds_work_or_are_refused(case: str) -> None:
    laws.embeds_work_or_are_refused(*subject("llama", case))


@pytest.mark.parametrize("amateur", AMATEURS)
@pytest.mark.parametrize("mode", ["greedy", "beam sample", "finished rows"])
def test_amateurs_of_other_architectures(amateur: str, mode: str) -> None:
    model = FAMILY["llama"].build()
    batch = laws.batch_of(FAMILY[amateur], model)  # of one row where the amateur cannot be padded
    laws.equals_the_reference(model_case(FAMILY[amateur].build()), model, batch, **ROWS[mode])


@pytest.mark.parametrize("mode", ["greedy", "beams", "finished rows"])
def test_a_decoder_only_amateur_of_an_encoder_decoder_model(mode: str) -> None:
    """It reads what the decoder has written, to which the padding of the encoder's text means nothing."""
    model = FAMILY["bart"].build()
    laws.equals_the_reference(model_case(FAMILY["gpt2"].build()), model, laws.batch_of(FAMILY["bart"], model), **ROWS[mode])
