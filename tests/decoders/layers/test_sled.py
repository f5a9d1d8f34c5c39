"""SLED equals its formula recomputed from scratch, and is what its settings say it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel, RepetitionPenaltyLogitsProcessor

import laws
import layer_references as reference
from counterpoint.decoders import SLEDLogitsProcessor
from counterpoint.decoders.layers import sled
from families import FAMILY, prompts

SOME = ["llama", "gemma2_sliding", "mamba"]
ALIGNMENTS = sled.alignments
SETTINGS: list[dict[str, Any]] = [{}, {"evolution_rate": 1.5, "evolution_scale": 5, "evolution_steps": 10}]


def logits(seed: int, *shape: int, spread: float = 3.0) -> Tensor:
    return spread * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def greedy(model: PreTrainedModel, ids: Tensor, mask: Tensor, *processors: Any, **kwargs: Any) -> list[list[int]]:
    return laws.new_tokens(
        model, ids, mask, custom_generate=None, penalty_alpha=None, top_k=None, logits_processor=list(processors), **kwargs
    )


@given(
    seed=st.integers(0, 2**16),
    scale=st.integers(1, 12),
    rate=st.floats(0, 5),
    steps=st.integers(1, 10),
    sharpness=st.sampled_from([0.1, 3.0, 30.0]),
)
def test_the_arithmetic_is_the_papers(seed: int, scale: int, rate: float, steps: int, sharpness: float) -> None:
    """Also where a layer is nearly certain, which is where differences of probabilities lose their digits."""
    agrees(seed, scale, rate, steps, sharpness)


def agrees(seed: int, scale: int, rate: float, steps: int, sharpness: float) -> None:
    final, early = logits(seed, 2, 3, 12), logits(seed + 1, 4, 2, 3, 12, spread=sharpness)
    found = sled.evolve(final, final, early, rate, scale, steps, -1000.0).scores
    for row in range(2):
        for position in range(3):
            expected = reference.sled(final[row, position], final[row, position], early[:, row, position], rate, scale, steps)
            torch.testing.assert_close(found[row, position], expected.float(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("settings", SETTINGS, ids=["generation", "scoring"])
def test_generation_is_the_formula_from_scratch(name: str, settings: dict[str, Any]) -> None:
    """In a left-padded batch, each row what the formula gives for it alone."""
    model = FAMILY[name].build()
    depth = model.config.num_hidden_layers
    ids, mask = prompts(model, laws.LENGTHS)
    plain = {key.removeprefix("evolution_"): value for key, value in settings.items()}

    def scores(text: Tensor) -> Tensor:
        final, early = reference.exits(model, text, range(depth))
        return reference.sled(final, final, early, **plain)

    found = greedy(model, ids, mask, SLEDLogitsProcessor(model, **settings))
    for row, tokens in zip(laws.rows(ids, mask), found, strict=True):
        expected, leads = reference.decode(scores, row, laws.STEPS)
        assert min(leads) > 1e-4, "a tie, no test of anything"
        assert tokens == expected


def test_evolution_changes_what_is_said() -> None:
    model = FAMILY["llama"].build()
    ids, mask = prompts(model, laws.LENGTHS)
    assert greedy(model, ids, mask, SLEDLogitsProcessor(model, evolution_rate=6.0)) != greedy(model, ids, mask)


@pytest.mark.parametrize("degenerate", [{"evolution_rate": 0.0}, {"evolution_scale": 1}], ids=str)
def test_degenerate_settings_are_greedy(degenerate: dict[str, Any]) -> None:
    model = FAMILY["llama"].build()
    ids, mask = prompts(model, laws.LENGTHS)
    assert greedy(model, ids, mask, SLEDLogitsProcessor(model, **degenerate)) == greedy(model, ids, mask)


@pytest.mark.parametrize("bound", [-1000.0, -100.0, -torch.inf])
def test_other_tokens_get_the_bound(bound: float) -> None:
    found = sled.evolve(logits(0, 2, 20), logits(0, 2, 20), logits(1, 3, 2, 20), 2.0, 5, 1, bound).scores
    assert ((found == bound).sum(dim=-1) == 15).all()
    assert (found.topk(5).indices.sort().values == logits(0, 2, 20).topk(5).indices.sort().values).all()


def test_banned_tokens_stay_banned_and_take_no_part() -> None:
    """Ten candidates of which three are allowed: as three candidates; no allowance left over for the banned."""
    final, early = logits(0, 20), logits(1, 3, 20)
    scores = torch.full_like(final, -torch.inf)
    scores[4:7] = final[4:7]
    found = sled.evolve(scores, final, early, 2.0, 10, 1, -1000.0).scores
    assert (found > -torch.inf).nonzero().flatten().tolist() == [4, 5, 6]
    torch.testing.assert_close(found, sled.evolve(scores, final, early, 2.0, 3, 1, -torch.inf).scores)


def test_logits_and_log_probabilities_evolve_alike() -> None:
    """Beams hand over log-probabilities; a decoder that compares them with the layers' logits would turn elsewhere."""
    model = FAMILY["llama"].build()
    ids, _ = prompts(model, (9,))
    processor = SLEDLogitsProcessor(model)
    raw = model(ids).logits[:, -1]
    best = raw.topk(10).indices
    change = [(processor(ids, scores) - scores).gather(1, best) for scores in (raw, raw.log_softmax(dim=-1))]
    torch.testing.assert_close(*change, atol=1e-5, rtol=1e-5)


def test_without_any_support_logits_stay() -> None:
    """Where the only candidate was being left by every layer, no direction is better than a wrong one."""
    final, early = torch.tensor([1.0, 0.9, 0.0]), torch.tensor([[9.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    assert sled.evolve(final, final, early, 2.0, 1, 1, -torch.inf).scores.tolist() == [1.0, -torch.inf, -torch.inf]


def test_a_penalty_after_it_applies_to_evolved_logits() -> None:
    model = FAMILY["llama"].build()
    ids, mask = prompts(model, (9,))

    def scores(text: Tensor) -> Tensor:
        final, early = reference.exits(model, text, range(3))
        evolved = reference.sled(final, final, early)
        return RepetitionPenaltyLogitsProcessor(1.3)(text, evolved[None])[0]

    expected, leads = reference.decode(scores, ids, laws.STEPS)
    assert min(leads) > 1e-4
    assert greedy(model, ids, mask, SLEDLogitsProcessor(model), RepetitionPenaltyLogitsProcessor(1.3)) == [expected]


def test_only_the_given_layers_count() -> None:
    model = FAMILY["llama"].build()
    ids, _ = prompts(model, (9,))
    processor = SLEDLogitsProcessor(model, layers=[2], final_norm=True)
    found = processor(ids, model(ids).logits[:, -1])[0]
    final, early = reference.exits(model, ids, [2], final_norm=True)
    expected = reference.sled(final, final, early)
    torch.testing.assert_close(found, expected.float(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"evolution_rate": -1.0}, "evolution_rate=-1.0"),
        ({"evolution_rate": float("nan")}, "evolution_rate=nan"),
        ({"evolution_scale": 0}, "evolution_scale=0: between 1 and the vocabulary's 96 tokens"),
        ({"evolution_scale": 97}, "evolution_scale=97"),
        ({"evolution_steps": 0}, "evolution_steps=0: at least one step"),
        ({"layers": [3]}, r"layers=\[3\]: early exits of this model are 0 \(the embeddings\) to 2"),
        ({"layers": []}, r"layers=\[\]"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_bad_settings_are_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SLEDLogitsProcessor(FAMILY["llama"].build(), **arguments)


def test_encoder_decoder_models_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="encoder-decoder"):
        SLEDLogitsProcessor(FAMILY["t5"].build())


def equal_steps(logits: Tensor, latent: Tensor, rate: float, steps: int) -> Tensor:
    for _ in range(steps):
        logits = logits - rate * (logits.softmax(dim=-1) - latent)
    return logits


def cosine_not_squared(final: Tensor, early: Tensor, candidates: Tensor) -> Tensor:
    gradient = early.softmax(dim=-1)[..., None, :] - torch.nn.functional.one_hot(candidates, final.shape[-1])
    return torch.cosine_similarity(gradient, (early - final)[..., None, :], dim=-1).clamp(min=0)


def every_layer_alike(final: Tensor, early: Tensor, candidates: Tensor) -> Tensor:
    parts: Tensor = ALIGNMENTS(final, early, candidates)
    return parts / parts.sum(dim=-1, keepdim=True)


@pytest.mark.parametrize(
    ("name", "wrong"), [("descend", equal_steps), ("alignments", cosine_not_squared), ("alignments", every_layer_alike)]
)
def test_wrong_formulas_are_caught(name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sled, name, wrong)
    with pytest.raises(AssertionError):
        agrees(seed=0, scale=5, rate=2.0, steps=3, sharpness=3.0)


def test_layers_taken_from_another_row_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    states = sled.LayerTap.states
    monkeypatch.setattr(sled.LayerTap, "states", lambda self, ids: states(self, ids).roll(1, dims=1))
    monkeypatch.setattr(sled.ExitTap, "complete", lambda self, latest, hidden: False)  # else the head's product is kept instead
    with pytest.raises(AssertionError):
        test_generation_is_the_formula_from_scratch("llama", {})


def test_layers_share_the_latent_distribution() -> None:
    """What each layer was heading for, by the gradient itself: the squared positive cosine of p_n - e_i and z_n - z_N."""
    final, early = logits(0, 20), logits(1, 3, 20)
    candidates = final.topk(5).indices
    found = sled.evolve(final, final, early, 2.0, 5, 1, -torch.inf).alignments
    expected = [
        sum(
            max(0.0, float(torch.cosine_similarity(layer.softmax(-1) - torch.eye(20)[one], layer - final, dim=-1))) ** 2
            for one in candidates
        )
        for layer in early
    ]
    torch.testing.assert_close(found, torch.tensor(expected))
