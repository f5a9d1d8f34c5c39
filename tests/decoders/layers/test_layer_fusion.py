"""Layer fusion is what its documentation says, and becomes the methods that it contains."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel

import processor_laws as laws
from contrast_cases import other_prompts, sibling
from counterpoint.decoders import (
    AdapterAmateur,
    ContrastiveDecodingLogitsProcessor,
    DoLaLogitsProcessor,
    LayerFusionLogitsProcessor,
    ModelAmateur,
    PooledAmateur,
    PromptAmateur,
    likelihood_ratio,
    log_ratio,
)
from counterpoint.decoders.contrasts.forms import Form
from counterpoint.decoders.layers import layer_fusion
from counterpoint.decoders.layers.layer_fusion import LayerLogits, fused_contrast, layer_pairs, layer_weights
from families import FAMILY
from layer_cases import chosen_fusion_case, deeper, fusion_case
from processor_laws import ROWS, Batch

LLAMA = FAMILY["llama"]


@pytest.fixture
def model() -> PreTrainedModel:
    return LLAMA.build()


@pytest.fixture
def amateur() -> PreTrainedModel:
    return sibling(LLAMA)


@pytest.fixture
def batch(model: PreTrainedModel) -> Batch:
    return laws.batch_of(LLAMA, model)


def scores(model: PreTrainedModel, batch: Batch, *processors: Any, **mode: Any) -> Tensor:
    """Scores of every step along the same text, whatever the processors would take."""
    return torch.stack(laws.generate(model, batch, processors, **mode).scores)


@given(seed=st.integers(0, 2**16), layers=st.integers(1, 4), refocus=st.floats(-2, 2))
def test_the_fusion_is_the_sum_that_is_documented(seed: int, layers: int, refocus: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    final, negative, guided = (torch.randn(2, 3, 9, generator=generator) for _ in range(3))
    early, early_negative = (torch.randn(layers, 2, 3, 9, generator=generator) for _ in range(2))
    weights = torch.randn(layers, 2, 3, generator=generator)
    logits = LayerLogits(final, negative, early, early_negative, guided)
    found = fused_contrast(logits, weights, likelihood_ratio, refocus)
    for row in range(2):
        for position in range(3):
            for token in range(9):

                def p(one: Tensor, row: int = row, position: int = position, token: int = token) -> Tensor:
                    return one[row, position].double().softmax(-1)[token]

                expected = (p(final) / p(negative)).log() + refocus * (p(guided) / p(final)).log()
                for layer in range(layers):
                    expected += weights[layer, row, position].double() * (p(early[layer]) / p(early_negative[layer])).log()
                assert found[row, position, token].item() == pytest.approx(expected.item(), abs=1e-4)


@pytest.mark.parametrize("mode", ["greedy", "beams", "finished rows"])
def test_without_weights_it_is_induce_then_contrast(
    model: PreTrainedModel, amateur: PreTrainedModel, batch: Batch, mode: str
) -> None:
    """Law L5, up to rounding: last layers pass the head together with lower ones."""
    fusion = LayerFusionLogitsProcessor(model, amateur, layers=[0, 2], fusion_weight=0.0, refocus_weight=0.0)
    contrast = ContrastiveDecodingLogitsProcessor(amateur, form=log_ratio)
    found, expected = (laws.generate(model, batch, [one], **ROWS[mode]) for one in (fusion, contrast))
    assert found.sequences.tolist() == expected.sequences.tolist()
    for own, other in zip(found.scores, expected.scores, strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-5)


def test_weight_minus_one_is_dola_of_the_original_less_that_of_the_amateur(
    model: PreTrainedModel, amateur: PreTrainedModel, batch: Batch
) -> None:
    """By hand: (ln p_N - ln q_N) - (ln p_l - ln q_l) = (ln p_N - ln p_l) - (ln q_N - ln q_l)."""
    alone = batch.alone(0)
    fusion = LayerFusionLogitsProcessor(model, amateur, layers=[2], fusion_weight=-1.0, alpha=0.0)
    dola, other_dola = (DoLaLogitsProcessor(one, layers=[2], alpha=0.0) for one in (model, amateur))
    logits, other_logits = (one(alone.ids).logits[:, -1] for one in (model, amateur))
    expected = dola(alone.ids, logits) - other_dola(alone.ids, other_logits)
    torch.testing.assert_close(fusion(alone.ids, logits), expected, atol=1e-4, rtol=1e-4)


def test_weights_add_up(model: PreTrainedModel, amateur: PreTrainedModel, batch: Batch) -> None:
    """A number is divided among the layers; each layer's share comes with its own weight; no layer counts twice."""
    alone = batch.alone(0)
    settings: list[Any] = [{"layers": [0], "fusion_weight": 0.0}, {"layers": [0]}, {"layers": [2]}, {"layers": [0, 2]}]
    processors = [LayerFusionLogitsProcessor(model, amateur, alpha=0.0, **({"fusion_weight": 1.0} | one)) for one in settings]
    processors.append(LayerFusionLogitsProcessor(model, amateur, layers=[2, 0], fusion_weight=[0.25, 3.0], alpha=0.0))
    logits = model(alone.ids).logits[:, -1]
    none, first, last, both, weighted = (processor(alone.ids, logits) for processor in processors)
    torch.testing.assert_close(both, none + 0.5 * (first - none) + 0.5 * (last - none), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(weighted, none + 3.0 * (first - none) + 0.25 * (last - none), atol=1e-4, rtol=1e-4)


def test_a_guide_that_says_nothing_changes_nothing(model: PreTrainedModel, amateur: PreTrainedModel, batch: Batch) -> None:
    same = PromptAmateur(model, {"input_ids": batch.ids, "attention_mask": batch.mask})
    other = PromptAmateur(model, other_prompts(model, batch.index))
    plain, same_guide, unweighted, guided = (
        laws.tokens(model, batch, [LayerFusionLogitsProcessor(model, amateur, layers=[1], guide=guide, refocus_weight=weight)])
        for guide, weight in ((None, 0.0), (same, 3.0), (other, 0.0), (other, 3.0))
    )
    assert plain == same_guide == unweighted != guided


def test_refocusing_moves_towards_the_guided_prompt(model: PreTrainedModel, batch: Batch) -> None:
    """With an amateur like the original nothing else is left: (1 - w) ln p + w ln p(. | guide) - ln p."""
    guide = PromptAmateur(model, other_prompts(model, batch.index))
    processor = LayerFusionLogitsProcessor(model, model, layers=[1], guide=guide, refocus_weight=2.0, alpha=0.0)
    expected = ContrastiveDecodingLogitsProcessor(guide, alpha=0.0, form=likelihood_ratio)
    found, contrast = (laws.generate(model, batch, [one], max_new_tokens=1).scores[0] for one in (processor, expected))
    torch.testing.assert_close(found, -2.0 * contrast, atol=1e-4, rtol=1e-4)


def trained_adapter(model: PreTrainedModel, *modules: str) -> Any:
    """A copy of the model with a LoRA adapter that says something else."""
    torch.manual_seed(0)
    adapted = get_peft_model(deepcopy(model), LoraConfig(r=4, target_modules=list(modules), init_lora_weights=False))
    return adapted.eval()


@pytest.mark.parametrize("mode", ["greedy", "beams", "finished rows"])
def test_an_adapter_as_the_amateur(model: PreTrainedModel, batch: Batch, mode: str) -> None:
    """As a model of its own with the adapter merged in, at every layer."""
    adapted = trained_adapter(model, "q_proj", "down_proj")
    merged = deepcopy(adapted).merge_and_unload().eval()
    adapted.base_model.disable_adapter_layers()
    base = adapted.get_base_model()
    processor = LayerFusionLogitsProcessor(base, AdapterAmateur(adapted), layers=[1, 2], fusion_weight=[0.5, 0.5])
    expected = LayerFusionLogitsProcessor(model, merged, layers=[1, 2], fusion_weight=[0.5, 0.5])
    for _ in range(2):
        found, other = laws.generate(base, batch, [processor], **ROWS[mode]), laws.generate(model, batch, [expected], **ROWS[mode])
        assert found.sequences.tolist() == other.sequences.tolist()
        for own, scores in zip(found.scores, other.scores, strict=True):
            torch.testing.assert_close(own, scores, **laws.CLOSE)


def test_an_adapter_of_the_output_embedding_is_refused_by_name(model: PreTrainedModel) -> None:
    adapted = trained_adapter(model, "lm_head")
    with pytest.raises(ValueError, match="adapter='default' changes the output embedding"):
        LayerFusionLogitsProcessor(adapted.get_base_model(), AdapterAmateur(adapted), layers=[1])


def test_another_formula_is_another_function(model: PreTrainedModel, amateur: PreTrainedModel, batch: Batch) -> None:
    """Which gets the logits of all layers, the weights and the form."""

    def largest(logits: LayerLogits, weights: Tensor, form: Form, refocus_weight: float) -> Tensor:
        assert logits.guided is None
        assert weights.shape == logits.lower.shape[:-1] == logits.amateur_lower.shape[:-1]
        return torch.maximum(form(logits.original, logits.amateur), form(logits.lower, logits.amateur_lower).amax(dim=0))

    alone = batch.alone(0)
    processor = LayerFusionLogitsProcessor(model, amateur, layers=[1], alpha=0.0, fusion=largest)
    plain, lower = (
        LayerFusionLogitsProcessor(model, amateur, layers=[1], fusion_weight=weight, alpha=0.0) for weight in (0.0, 1.0)
    )
    logits = model(alone.ids).logits[:, -1]
    final, both = plain(alone.ids, logits), lower(alone.ids, logits)
    torch.testing.assert_close(processor(alone.ids, logits), torch.maximum(final, both - final), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("weight", "layers", "shared", "expected"),
    [(0.6, 3, True, [0.2] * 3), (0.6, 3, False, [0.6] * 3), ([1.0, -2.0], 2, True, [1.0, -2.0]), ((1.0,), 1, False, [1.0])],
)
def test_layer_weights(weight: Any, layers: int, shared: bool, expected: list[float]) -> None:
    assert layer_weights(weight, layers, shared) == pytest.approx(expected)


@given(depth=st.integers(1, 80), amateur_depth=st.integers(1, 80))
def test_layers_pair_by_relative_depth(depth: int, amateur_depth: int) -> None:
    layers = tuple(range(depth))
    pairs = layer_pairs(layers, depth, amateur_depth, None)
    assert all(0 <= pair < amateur_depth for pair in pairs)
    assert list(pairs) == sorted(pairs)
    assert pairs[0] == 0
    assert depth != amateur_depth or pairs == layers
    for layer, pair in zip(layers, pairs, strict=True):
        assert pair == amateur_depth - 1 or abs(pair / amateur_depth - layer / depth) <= 0.5 / amateur_depth + 1e-9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": []}, r"layers=\[\]"),
        ({"layers": [3]}, r"layers=\[3\]: early exits of this model are 0 \(the embeddings\) to 2"),
        ({"fusion_weight": [0.5]}, "fusion_weight has 1 weights for 2 layers"),
        ({"amateur_layers": [0]}, r"amateur_layers=\[0\]: give one for each of layers=\[1, 2\]"),
        ({"amateur_layers": [0, 3]}, r"layers=\[0, 3\]: early exits of this model"),
        ({"refocus_weight": 0.5}, "refocus_weight=0.5 needs guide="),
        ({"alpha": 2.0}, "alpha=2.0"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_bad_settings_are_refused_by_name(
    model: PreTrainedModel, amateur: PreTrainedModel, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LayerFusionLogitsProcessor(model, amateur, **({"layers": [1, 2]} | settings))


def test_amateurs_without_layers_are_refused_by_name(model: PreTrainedModel, amateur: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match="amateur=PooledAmateur has no layers of its own"):
        LayerFusionLogitsProcessor(model, PooledAmateur([ModelAmateur(amateur)]), layers=[1])
    with pytest.raises(ValueError, match="is an encoder-decoder model"):
        LayerFusionLogitsProcessor(model, FAMILY["bart"].build(), layers=[1])


def caught(law: Any, *arguments: Any, **mode: Any) -> None:
    with pytest.raises(AssertionError, match="first time"):
        law(*arguments, **mode)


def test_a_lower_layer_that_does_not_count_is_caught(
    model: PreTrainedModel, amateur: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = LayerFusionLogitsProcessor._weights
    monkeypatch.setattr(LayerFusionLogitsProcessor, "_weights", lambda self, *given: 0 * right(self, *given))
    caught(laws.equals_the_reference, fusion_case(amateur), model, batch)


def test_weights_in_the_wrong_order_are_caught(
    model: PreTrainedModel, amateur: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_fusion, "layer_weights", lambda weight, layers, shared: list(weight)[::-1])
    caught(laws.equals_the_reference, fusion_case(amateur), model, batch)


def test_one_layer_for_all_rows_is_caught(
    model: PreTrainedModel, amateur: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = layer_fusion.divergences
    monkeypatch.setattr(layer_fusion, "divergences", lambda *given: right(*given)[:, :1].expand(-1, len(given[0])))
    caught(laws.equals_the_reference, chosen_fusion_case(amateur, {0: 0, 1: 1, 2: 2}), model, batch)


def test_layers_paired_by_index_in_an_amateur_of_another_depth_are_caught(
    model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_fusion, "layer_pairs", lambda layers, *others: layers)
    caught(laws.equals_the_reference, chosen_fusion_case(deeper(LLAMA, 6), {0: 0, 1: 2, 2: 4}), model, batch)


def test_states_of_an_earlier_step_of_the_amateur_are_caught(
    model: PreTrainedModel, amateur: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that have changed places since: only the ids tell."""
    right = layer_fusion.ExitTap.logits
    monkeypatch.setattr(
        layer_fusion.ExitTap, "logits", lambda self, ids: right(self, ids).flip(1) if self.owner else right(self, ids)
    )
    caught(laws.equals_the_reference, fusion_case(amateur), model, batch)
