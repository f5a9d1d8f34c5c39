"""DoLa equals its formula recomputed from scratch, where the paper and the code that was released differ by either's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

import laws
import layer_references as reference
from counterpoint.decoders import DoLaLogitsProcessor, jensen_shannon, released_divergence
from counterpoint.decoders.layers import divergence, dola
from counterpoint.decoders.layers.dola import at_layer, candidate_layers, divergences
from families import FAMILY, prompts

LLAMA = FAMILY["llama"]
DIVERGENCES = {jensen_shannon: reference.jensen_shannon, released_divergence: reference.released_divergence}
both_divergences = pytest.mark.parametrize("rule", DIVERGENCES, ids=lambda rule: rule.__name__)


def logits(seed: int, *shape: int, spread: float = 3.0) -> Tensor:
    return spread * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def generated(model: PreTrainedModel, ids: Tensor, mask: Tensor, **settings: Any) -> list[list[int]]:
    processor = DoLaLogitsProcessor(model, **settings)
    return laws.new_tokens(model, ids, mask, custom_generate=None, penalty_alpha=None, top_k=None, logits_processor=[processor])


def from_scratch(model: PreTrainedModel, row: Tensor, layers: list[int], final_norm: bool = False, **settings: Any) -> list[int]:
    """Greedy search by the reference, of one row; fails on near-ties, which are no test of anything."""

    def scores(text: Tensor) -> Tensor:
        return reference.dola(*reference.exits(model, text, layers, final_norm), **settings)

    tokens, leads = reference.decode(scores, row, laws.STEPS)
    assert min(leads) > 1e-4, "a tie: choose another seed"
    return tokens


@given(seed=st.integers(0, 2**16), spread=st.sampled_from([0.1, 3.0, 30.0, 1000.0]))
@both_divergences
def test_divergences_are_their_definitions(rule: Any, seed: int, spread: float) -> None:
    """Also of distributions so sharp that probabilities underflow."""
    p, q = logits(seed, 2, 3, 20), logits(seed + 1, 2, 3, 20, spread=spread)
    found = rule(p.log_softmax(-1), q.log_softmax(-1))
    assert found.shape == (2, 3)
    for row in range(2):
        for position in range(3):
            expected = DIVERGENCES[rule](*(reference.log_p(one[row, position]) for one in (p, q)))
            assert found[row, position].item() == pytest.approx(expected, rel=1e-3, abs=1e-5)


@given(seed=st.integers(0, 2**16))
def test_jensen_shannon_is_symmetric_and_bounded(seed: int) -> None:
    p, q = (logits(seed + n, 5, 20, spread=8.0).log_softmax(-1) for n in range(2))
    torch.testing.assert_close(jensen_shannon(p, q), jensen_shannon(q, p))
    assert ((jensen_shannon(p, q) > 0) & (jensen_shannon(p, q) <= torch.tensor(2.0).log() + 1e-6)).all()
    torch.testing.assert_close(jensen_shannon(p, p), torch.zeros(5), atol=1e-6, rtol=0)


def test_the_released_divergence_chooses_other_layers() -> None:
    """Trap 1: over random layers the two rules disagree in some cases, and each is the one its name says."""
    final, early = logits(0, 400, 50), logits(1, 8, 400, 50)
    choices = {rule: divergences(final, early, rule).argmax(dim=0) for rule in DIVERGENCES}
    assert 0.02 < (choices[jensen_shannon] != choices[released_divergence]).float().mean() < 0.6
    for rule, chosen in choices.items():
        for row in range(20):
            assert chosen[row] == reference.furthest(final[row], early[:, row], DIVERGENCES[rule])


def test_each_position_has_the_layer_of_its_own_choice() -> None:
    """Trap 2: one row's divergences have no say in another's layer. Scoring has a dimension of positions as well."""
    final, early = logits(0, 3, 5, 20), logits(1, 4, 3, 5, 20)
    chosen = divergences(final, early, jensen_shannon).argmax(dim=0)
    together = at_layer(early, chosen)
    assert len(chosen.unique()) > 1
    for row in range(3):
        for position in range(5):
            assert torch.equal(together[row, position], early[chosen[row, position], row, position])
            alone = divergences(final[row, position], early[:, row, position], jensen_shannon).argmax(dim=0)
            assert alone == chosen[row, position]


def test_equally_far_layers_give_way_to_the_first() -> None:
    early = logits(1, 1, 20).expand(3, 20)
    assert divergences(logits(0, 20), early, jensen_shannon).argmax(dim=0) == 0


@pytest.mark.parametrize("name", ["llama", "gemma2_sliding", "mamba"])
def test_generation_is_the_formula_from_scratch(name: str) -> None:
    """In a left-padded batch, whose rows choose different layers, each what the formula gives for it alone."""
    model = FAMILY[name].build()
    ids, mask = prompts(model, laws.LENGTHS)
    expected = [from_scratch(model, row, [0, 1, 2]) for row in laws.rows(ids, mask)]
    assert generated(model, ids, mask, layers=[0, 1, 2]) == expected


@pytest.mark.parametrize("layers", [[0], [2], [1, 2]], ids=str)
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@both_divergences
def test_settings_are_the_formulas(layers: list[int], alpha: float, rule: Any) -> None:
    model = LLAMA.build()
    ids, mask = prompts(model, laws.LENGTHS[:2])
    settings: dict[str, Any] = {"alpha": alpha, "divergence": DIVERGENCES[rule]}
    expected = [from_scratch(model, row, layers, **settings) for row in laws.rows(ids, mask)]
    assert generated(model, ids, mask, layers=layers, alpha=alpha, divergence=rule) == expected


def test_the_released_code_leaves_out_the_final_norm() -> None:
    """Trap 3: both are there, the released one by default, and they differ."""
    model = LLAMA.build()
    ids, mask = prompts(model, laws.LENGTHS)
    texts = [generated(model, ids, mask, layers=[1, 2], final_norm=final_norm) for final_norm in (False, True)]
    expected = [[from_scratch(model, row, [1, 2], norm) for row in laws.rows(ids, mask)] for norm in (False, True)]
    assert texts == expected
    assert texts[0] != texts[1]
    assert generated(model, ids, mask, layers=[1, 2]) == texts[0]


@given(seed=st.integers(0, 2**16), alpha=st.floats(0, 1))
def test_implausible_tokens_are_out_and_no_others(seed: int, alpha: float) -> None:
    """Trap 5: alpha is a setting, and outside of the plausible set there is nothing but -inf."""
    model = LLAMA.build()
    ids, _ = prompts(model, (9,))
    processor = DoLaLogitsProcessor(model, layers=[1], alpha=alpha)
    model(ids)
    scores = logits(seed, 1, 96)
    p = scores.double().softmax(-1)
    kept = p >= alpha * p.max()
    unsure = (p / (alpha * p.max()) - 1).abs() < 1e-5
    assert (((processor(ids, scores) > -torch.inf) == kept) | unsure).all()


def test_alpha_one_is_greedy_search() -> None:
    """The degenerate setting of law L5."""
    model = LLAMA.build()
    ids, mask = prompts(model, laws.LENGTHS)
    greedy = laws.new_tokens(model, ids, mask, custom_generate=None, penalty_alpha=None, top_k=None)
    assert generated(model, ids, mask, alpha=1.0) == greedy
    assert generated(model, ids, mask, alpha=0.0) != greedy


def untied(depth: int, tied: bool) -> PreTrainedModel:
    shape = {"hidden_size": 8, "num_attention_heads": 1, "intermediate_size": 8}
    return LlamaForCausalLM(LlamaConfig(vocab_size=32, num_hidden_layers=depth, tie_word_embeddings=tied, **shape))


@pytest.mark.parametrize(
    ("depth", "tied", "low", "high"),
    [
        (1, False, [0], [0]),
        (1, True, [0], [0]),
        (2, False, [0], [1]),
        (2, True, [1], [1]),
        (3, True, [2], [1]),
        (4, True, [2], [2]),
        (5, True, [2], [2, 4]),
        (8, False, [0, 2], [4, 6]),
        (32, False, [*range(0, 16, 2)], [*range(16, 32, 2)]),
        (30, True, [*range(2, 15, 2)], [*range(15, 30, 2)]),
        (40, False, [*range(0, 20, 2)], [*range(20, 40, 2)]),
        (60, False, [*range(0, 20, 2)], [*range(40, 60, 2)]),
        (60, True, [*range(2, 20, 2)], [*range(40, 60, 2)]),
    ],
)
def test_halves_are_those_of_transformers_4(depth: int, tied: bool, low: list[int], high: list[int]) -> None:
    model = untied(depth, tied)
    assert candidate_layers(model, "low") == tuple(low)
    assert candidate_layers(model, "high") == tuple(high)
    assert candidate_layers(model, [depth - 1, 0]) == (depth - 1, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": "middle"}, "layers='middle': 'low', 'high' or a list of layers"),
        ({"layers": []}, r"layers=\[\]: early exits of this model are 0 \(the embeddings\) to 2"),
        ({"layers": [1, 3]}, r"layers=\[1, 3\]: early exits of this model"),
        ({"layers": [-1]}, r"layers=\[-1\]"),
        ({"alpha": 1.5}, r"alpha=1.5: the plausible set needs a number in \[0, 1\]"),
        ({"alpha": -0.1}, "alpha=-0.1"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_bad_settings_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DoLaLogitsProcessor(LLAMA.build(), **settings)


def test_encoder_decoder_models_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="is an encoder-decoder model"):
        DoLaLogitsProcessor(FAMILY["bart"].build())


def test_logits_that_are_no_numbers_are_refused() -> None:
    model = LLAMA.build()
    ids, _ = prompts(model, (9,))
    processor = DoLaLogitsProcessor(model)
    scores = model(ids).logits[:, -1]
    with pytest.raises(ValueError, match=r"logits are NaN in rows \[0\]"):
        processor(ids, scores.masked_fill(scores == scores.max(), torch.nan))
    with pytest.raises(ValueError, match=r"every token is banned in rows \[0\]"):
        processor(ids, torch.full_like(scores, -torch.inf))


def one_layer_for_all(final: Tensor, early: Tensor, rule: Any) -> Tensor:
    """The peer's defect."""
    p, q = final.log_softmax(-1), early.log_softmax(-1)
    distances: Tensor = rule(p.expand_as(q), q)
    return distances.mean(-1, keepdim=True).expand_as(distances)


def test_one_layer_for_the_whole_batch_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dola, "divergences", one_layer_for_all)
    with pytest.raises(AssertionError):
        test_generation_is_the_formula_from_scratch("llama")


def test_exchanged_arguments_of_the_divergence_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = divergence.kullback_leibler
    monkeypatch.setattr(divergence, "kullback_leibler", lambda p, q: wrong(q, p))
    with pytest.raises(AssertionError):
        test_the_released_divergence_chooses_other_layers()


def test_the_plausible_set_of_the_first_row_for_all_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap 2 again: the released code masks by row 0."""
    right = dola.contrast

    def by_row_zero(positive: Tensor, negative: Tensor, alpha: float) -> Tensor:
        implausible = right(positive[:1], negative[:1], alpha=alpha) == -torch.inf
        return right(positive, negative, alpha=0.0).masked_fill(implausible, -torch.inf)

    monkeypatch.setattr(dola, "contrast", by_row_zero)
    with pytest.raises(AssertionError):
        test_generation_is_the_formula_from_scratch("llama")
