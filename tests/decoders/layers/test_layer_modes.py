"""DoLa, SLED and layer fusion over other amateurs and the embedded models, and mocks that break the laws of processors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

import processor_laws as laws
from counterpoint.decoders.contrasts.forms import likelihood_ratio, plausible
from counterpoint.decoders.forwards.layer_tap import LayerTap
from counterpoint.decoders.layers import dola, sled
from families import FAMILY
from layer_cases import chosen_fusion_case, deeper, dola_case, fusion_case, sled_case
from processor_cases import subject
from processor_laws import PROCESSED, ROWS


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


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["greedy", "beams", "sample", "finished rows"])
def test_the_embedded_models(mode: str, expert: PreTrainedModel, amateur: PreTrainedModel) -> None:
    batch = laws.batch_of(FAMILY["llama"], expert)
    for case in (dola_case([1, 2, 3]), sled_case(), fusion_case(amateur, {1: 0, 3: 0}), chosen_fusion_case(amateur, {1: 0, 3: 0})):
        laws.equals_the_reference(case, expert, batch, **ROWS[mode])


@pytest.mark.parametrize("mode", ["greedy", "beams"])
def test_bans_that_the_contrast_of_layers_lifts_are_caught(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def lifted(positive: Tensor, negative: Tensor, alpha: float) -> Tensor:
        allowed = positive.clamp(min=-1e4)
        return likelihood_ratio(allowed, negative).masked_fill(~plausible(positive, alpha=0.0), -torch.inf)

    monkeypatch.setattr(dola, "contrast", lifted)
    with pytest.raises(AssertionError, match="a banned token"):
        laws.bans_hold(*subject("llama", "DoLa"), **ROWS[mode])


def test_bans_that_the_lower_bound_lifts_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = sled.evolve

    def lifted(*given: Any) -> sled.Evolution:
        found = right(*given)
        return found._replace(scores=found.scores.clamp(min=-1000.0))

    monkeypatch.setattr(sled, "evolve", lifted)
    with pytest.raises(AssertionError, match="a banned token"):
        laws.bans_hold(*subject("llama", "SLED"))


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
        laws.inputs_stay(*subject("llama", "DoLa"))
