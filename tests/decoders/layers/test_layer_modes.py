"""DoLa, SLED and layer fusion in every mode of ``generate`` (laws L1 to L4 and L7)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

import processor_laws as laws
from contrast_cases import FAMILY, sibling
from counterpoint.decoders.contrasts.forms import likelihood_ratio, plausible
from counterpoint.decoders.forwards.layer_tap import LayerTap
from counterpoint.decoders.layers import dola, sled
from layer_cases import chosen_fusion_case, deeper, dola_case, fusion_case, normed_dola_case, sled_case
from processor_laws import CACHES, PROCESSED, ROWS, Batch, Case

ALL_MODES = ROWS | PROCESSED | CACHES
WHOLE = [("llama", "DoLa"), ("llama", "SLED"), ("llama", "layer fusion"), ("gemma3_sliding", "DoLa")]
"""Families and cases that run in every mode; others in those that treat rows differently."""
OTHERS = [
    ("gpt2_tied", "DoLa as the paper"),
    ("mistral_sliding", "SLED"),
    ("gemma3_sliding", "layer fusion"),
    ("bloom", "chosen layer fusion"),
    ("opt_350m", "DoLa"),
    ("cohere", "layer fusion"),
    ("mamba", "SLED"),
    ("mamba", "layer fusion"),
]
FEW = ["greedy", "beams", "beam sample", "finished rows", "penalty before", "few allowed tokens"]
each_case = pytest.mark.parametrize(("name", "case"), WHOLE + OTHERS)
some_cases = pytest.mark.parametrize(("name", "case"), [*WHOLE, ("bloom", "chosen layer fusion"), ("mamba", "SLED")])


def subject(name: str, case: str) -> tuple[Case, Any, Batch]:
    family = FAMILY[name]
    model, other = family.build(), sibling(family)
    if case == "chosen layer fusion":
        return chosen_fusion_case(other, {0: 0, 1: 1, 2: 2}), model, laws.batch_of(family, model)
    found = {str(known): known for known in (dola_case(), normed_dola_case(), sled_case(), fusion_case(other))}
    return found[case], model, laws.batch_of(family, model)


@pytest.mark.parametrize(
    ("name", "case", "mode"),
    [(*pair, mode) for pairs, modes in ((WHOLE, ALL_MODES), (OTHERS, FEW)) for pair in pairs for mode in modes],
)
def test_every_mode_is_the_reference(name: str, case: str, mode: str) -> None:
    laws.equals_the_reference(*subject(name, case), **ALL_MODES[mode])


@each_case
def test_rows_are_independent(name: str, case: str) -> None:
    laws.rows_are_independent(*subject(name, case))


@pytest.mark.parametrize(("name", "case"), [*WHOLE, ("mistral_sliding", "SLED"), ("opt_350m", "DoLa")])
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


@some_cases
def test_calls_do_not_meet(name: str, case: str) -> None:
    laws.calls_do_not_meet(*subject(name, case))


@some_cases
@pytest.mark.parametrize("mode", ["greedy", "beams"])
def test_bans_hold(name: str, case: str, mode: str) -> None:
    laws.bans_hold(*subject(name, case), **ROWS[mode])


@some_cases
def test_inputs_stay(name: str, case: str) -> None:
    laws.inputs_stay(*subject(name, case))


@pytest.mark.parametrize("case", ["DoLa", "SLED", "layer fusion"])
def test_embeds_work_or_are_refused(case: str) -> None:
    laws.embeds_work_or_are_refused(*subject("llama", case))


@pytest.mark.parametrize(
    ("depth", "pairs"),
    [(6, {0: 0, 1: 2, 2: 4}), (2, {0: 0, 1: 1, 2: 1}), (3, {0: 0, 1: 1, 2: 2})],
    ids=["deeper", "shallower", "same"],
)
def test_an_amateur_of_another_depth(depth: int, pairs: dict[int, int]) -> None:
    """Its layers go with those at the same relative depth."""
    model = FAMILY["llama"].build()
    laws.equals_the_reference(
        chosen_fusion_case(deeper(FAMILY["llama"], depth), pairs), model, laws.batch_of(FAMILY["llama"], model)
    )


def test_an_amateur_of_another_architecture() -> None:
    model = FAMILY["llama"].build()
    batch = laws.batch_of(FAMILY["llama"], model)
    for name in ("opt_350m", "gpt_neo_local", "mamba"):
        laws.equals_the_reference(fusion_case(FAMILY[name].build()), model, batch, **ROWS["beams"])


@pytest.mark.parametrize("mode", ["greedy", "beams", "sample", "finished rows"])
def test_the_embedded_models(mode: str, expert: PreTrainedModel, amateur: PreTrainedModel) -> None:
    batch = laws.batch_of(FAMILY["llama"], expert)
    for case in (dola_case([1, 2, 3]), sled_case(), fusion_case(amateur, {1: 1, 3: 2}), chosen_fusion_case(amateur, {1: 1, 3: 2})):
        laws.equals_the_reference(case, expert, batch, **ROWS[mode])


@pytest.mark.parametrize("mode", ["greedy", "beams"])
def test_bans_that_the_contrast_of_layers_lifts_are_caught(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def lifted(positive: Tensor, negative: Tensor, alpha: float) -> Tensor:
        allowed = positive.clamp(min=-1e4)
        return likelihood_ratio(allowed, negative).masked_fill(~plausible(positive, 0.0), -torch.inf)

    monkeypatch.setattr(dola, "contrast", lifted)
    with pytest.raises(AssertionError, match="a banned token"):
        test_bans_hold("llama", "DoLa", mode)


def test_bans_that_the_lower_bound_lifts_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = sled.evolved
    monkeypatch.setattr(sled, "evolved", lambda *given: right(*given).clamp(min=-1000.0))
    with pytest.raises(AssertionError, match="a banned token"):
        test_bans_hold("llama", "SLED", "greedy")


@pytest.mark.parametrize("case", ["DoLa", "SLED", "layer fusion"])
def test_a_last_layer_that_processors_had_no_say_in_is_caught(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the peers, whose contrast precedes all processors."""
    found, model, batch = subject("llama", case)
    build = type(found.build(model, batch)[0])
    right = build.__call__

    def anew(self: Any, input_ids: Tensor, scores: Tensor) -> Tensor:
        states = LayerTap.states(taps[0], input_ids)[0]
        return right(self, input_ids, model.get_output_embeddings()(states))

    taps = [LayerTap(model, [model.config.num_hidden_layers])]
    monkeypatch.setattr(build, "__call__", anew)
    laws.equals_the_reference(found, model, batch)
    with pytest.raises(AssertionError, match="first time"):
        laws.equals_the_reference(found, model, batch, **PROCESSED["penalty before"])


def test_scores_changed_in_place_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = dola.contrast
    monkeypatch.setattr(dola, "contrast", lambda positive, negative, alpha: positive.copy_(right(positive, negative, alpha=alpha)))
    with pytest.raises(AssertionError, match="output_logits were changed"):
        test_inputs_stay("llama", "DoLa")
