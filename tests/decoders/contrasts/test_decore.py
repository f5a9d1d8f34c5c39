"""DeCoRe: heads masked as weights of zero would mask them, in generation and scoring alike; its forms; files of heads; refusals."""

from __future__ import annotations

import copy
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import LogitsProcessor, PreTrainedModel

import contrast_references as references
from counterpoint.decoders import (
    ContrastiveDecodingLogitsProcessor,
    DeCoReLogitsProcessor,
    HeadMaskedAmateur,
    ModelAmateur,
    contrast,
    decoder,
    entropy_extrapolation,
    extrapolation,
    score,
)
from counterpoint.decoders.amateurs.head_lists import Head, parse_heads
from counterpoint.decoders.testing import DecoderLaws, tiny_model
from families import FAMILY, prompts

HEADS = [(0, 1), (1, 0), (1, 3), (2, 2)]
IDS = torch.tensor([[11, 12, 13, 14, 15, 16]])
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


class TestDeCoRe(DecoderLaws):
    """Gema et al."""

    decoder = DeCoReLogitsProcessor

    def make_processor(self, model: PreTrainedModel) -> LogitsProcessor:
        return DeCoReLogitsProcessor(model, HEADS)


class TestDeCoReOfSilentHeads(DecoderLaws):
    """With heads of which nothing is left."""

    decoder = DeCoReLogitsProcessor

    def make_processor(self, model: PreTrainedModel) -> LogitsProcessor:
        return DeCoReLogitsProcessor(model, HEADS, mask="zero", beta=0.5)


logits = st.lists(st.floats(-12, 12, width=32), min_size=6, max_size=6).map(torch.tensor)


@given(positive=logits, negative=logits, banned=st.sets(st.integers(0, 5), max_size=3))
def test_the_form_is_the_papers(positive: Tensor, negative: Tensor, banned: set[int]) -> None:
    positive = positive.index_fill(0, torch.tensor(sorted(banned), dtype=torch.long), -math.inf)
    expected = references.contrast(positive, negative, references.entropy_power(), alpha=0.0)
    torch.testing.assert_close(contrast(positive, negative, form=entropy_extrapolation, alpha=0.0), expected.float(), **CLOSE)


def test_worked_numbers() -> None:
    p, q = torch.tensor([0.5, 0.3, 0.2]).log(), torch.tensor([0.4, 0.4, 0.2]).log()
    near: Any = partial(torch.testing.assert_close, atol=6e-5, rtol=0)
    near(extrapolation(p, q, beta=0.5).softmax(-1), torch.tensor([0.5487, 0.2550, 0.1963]))
    near(entropy_extrapolation(p, q).softmax(-1), torch.tensor([0.5979, 0.2120, 0.1901]))
    near(entropy_extrapolation(p, q), extrapolation(p, q, beta=1.0297))
    near(entropy_extrapolation(p, q, scaled=True), extrapolation(p, q, beta=0.9372))
    near(entropy_extrapolation(p, q, cap=0.5), extrapolation(p, q, beta=0.5))


def test_a_certain_model_is_itself_and_rows_have_their_own_strength() -> None:
    p, q = torch.tensor([[90.0, 0.0, 0.0], [1.0, 0.5, 0.0]]), torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])
    found = entropy_extrapolation(p, q)
    torch.testing.assert_close(found[0], p[0].log_softmax(-1))
    torch.testing.assert_close(found[1], entropy_extrapolation(p[1], q[1]))


def without_queries(model: PreTrainedModel, heads: list[Head]) -> PreTrainedModel:
    """A copy whose weights give these heads queries of 0."""
    other: Any = copy.deepcopy(model)
    for layer, head in heads:
        if hasattr(other, "transformer"):  # GPT-2: columns of one matrix for queries, keys and values
            attention = other.transformer.h[layer].attn
            columns = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
            attention.c_attn.weight[:, columns] = 0
            attention.c_attn.bias[columns] = 0
        else:
            projection, width = other.model.layers[layer].self_attn.q_proj, other.model.layers[layer].self_attn.head_dim
            projection.weight[head * width : (head + 1) * width] = 0
            if projection.bias is not None:
                projection.bias[head * width : (head + 1) * width] = 0
    found: PreTrainedModel = other
    return found


def without_values(model: PreTrainedModel, heads: list[Head]) -> PreTrainedModel:
    """A copy whose weights take nothing from these heads."""
    other: Any = copy.deepcopy(model)
    for layer, head in heads:
        if hasattr(other, "transformer"):
            attention = other.transformer.h[layer].attn
            attention.c_proj.weight[head * attention.head_dim : (head + 1) * attention.head_dim] = 0
        else:
            attention = other.model.layers[layer].self_attn
            attention.o_proj.weight[:, head * attention.head_dim : (head + 1) * attention.head_dim] = 0
    found: PreTrainedModel = other
    return found


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_sliding", "qwen2"])
@pytest.mark.parametrize("mask", ["uniform", "zero"])
def test_masked_heads_are_weights_of_zero(family: str, mask: Any) -> None:
    """In generation, padded on the left, and in scoring; and nothing is left in the model."""
    model: Any = FAMILY[family].build().requires_grad_(False)
    heads = [(0, 0), (1, 1)]
    other = (without_queries if mask == "uniform" else without_values)(model, heads)
    ids, seen = prompts(model, (11, 7, 12))
    amateur = HeadMaskedAmateur(model, heads, mask=mask)

    def hooks() -> int:
        return sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules())

    before = hooks()
    texts = []
    for one in (amateur, ModelAmateur(other)):
        processor = ContrastiveDecodingLogitsProcessor(one, alpha=0.0)
        output = model.generate(
            ids,
            attention_mask=seen,
            logits_processor=[processor],
            max_new_tokens=5,
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
        )
        given = [row[mark.bool()].tolist() for row, mark in zip(ids, seen, strict=True)]
        scored = score(model, None, given, [[[7, 8, 9]]] * 3, processor)
        texts.append((torch.stack(output.scores), [each.log_probabilities for (each,) in scored]))
    assert hooks() == before
    torch.testing.assert_close(texts[0][0], texts[1][0], **CLOSE)
    torch.testing.assert_close(torch.tensor(texts[0][1]), torch.tensor(texts[1][1]), **CLOSE)
    plain = model(ids, attention_mask=seen).logits[:, -1]
    assert not torch.allclose(amateur_logits(amateur, ids[2:]), plain[2:], atol=1e-3)


def amateur_logits(amateur: HeadMaskedAmateur, ids: Tensor) -> Tensor:
    return amateur.logits(ids)


def one_layer() -> Any:
    """A Llama of one layer, with as many key heads as query heads."""
    model: Any = tiny_model()
    config = copy.deepcopy(model.config)
    config.num_hidden_layers, config.num_key_value_heads = 1, config.num_attention_heads
    torch.manual_seed(0)
    return type(model)(config).eval().requires_grad_(False)


def test_uniform_heads_average_the_values_that_they_may_see() -> None:
    """All heads of a one-layer model: what enters the output projection at t is the mean of the values up to t, by hand."""
    model = one_layer()
    layer = model.model.layers[0]
    hidden = model.model.embed_tokens(IDS)
    values = layer.self_attn.v_proj(layer.input_layernorm(hidden))
    averaged = values.cumsum(dim=1) / torch.arange(1, IDS.shape[1] + 1)[:, None]
    hidden = hidden + layer.self_attn.o_proj(averaged)
    hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    expected = model.lm_head(model.model.norm(hidden))[:, -1]
    heads = [(0, head) for head in range(model.config.num_attention_heads)]
    torch.testing.assert_close(HeadMaskedAmateur(model, heads).logits(IDS), expected, atol=1e-5, rtol=1e-5)


def test_heads_that_share_a_norm_are_refused() -> None:
    """OLMo-2 norms the queries of all heads together: a head without queries would change the others."""
    model = FAMILY["olmo2"].build()
    with pytest.raises(ValueError, match=r"layer 0 of Olmo2ForCausalLM norms the queries of all heads together.*take mask='zero'"):
        HeadMaskedAmateur(model, [(0, 0)])
    HeadMaskedAmateur(model, [(0, 0)], mask="zero")
    HeadMaskedAmateur(FAMILY["qwen3"].build(), [(0, 0)])  # which norms each head by itself


@pytest.mark.parametrize("mask", ["uniform", "zero"])
def test_attention_kernels_agree(mask: Any) -> None:
    """Trap: on the eager path the released code sets weights after the causal mask, so that heads see tokens to come."""
    model: Any = tiny_model()
    found = HeadMaskedAmateur(model, HEADS, mask=mask).logits(IDS)
    model.set_attn_implementation("eager")
    torch.testing.assert_close(HeadMaskedAmateur(model, HEADS, mask=mask).logits(IDS), found, atol=1e-5, rtol=1e-5)
    processor = ContrastiveDecodingLogitsProcessor(HeadMaskedAmateur(model, HEADS, mask=mask), alpha=0.0)
    short, long = (score(model, None, [IDS[0].tolist()], [[text]], processor)[0][0] for text in ([7, 8], [7, 8, 9, 10]))
    torch.testing.assert_close(
        torch.tensor(short.log_probabilities), torch.tensor(long.log_probabilities[:2]), atol=1e-5, rtol=1e-5
    )


class UnmaskedPrompt(HeadMaskedAmateur):
    """Reads the prompt as the model does in generation, as released: the law of scoring sees it."""

    def next_logits(self, ids: Tensor, seen: Tensor) -> Tensor:
        if self.prefix.ids is None:
            ModelAmateur.next_logits(self, ids[:, :-1], seen[:, :-1])
        return super().next_logits(ids, seen)


def test_a_prompt_that_generation_alone_reads_unmasked_is_caught() -> None:
    class Laws(DecoderLaws):
        def make_processor(self, model: PreTrainedModel) -> LogitsProcessor:
            return ContrastiveDecodingLogitsProcessor(UnmaskedPrompt(model, HEADS), alpha=0.0)

    with pytest.raises(AssertionError, match="text 0: score"):
        Laws().test_scoring_agrees_with_generation()


def test_degenerate_settings_are_greedy_search() -> None:
    model: Any = tiny_model()

    def text(*processors: Any) -> list[int]:
        ids: list[int] = model.generate(IDS, logits_processor=list(processors), max_new_tokens=12, do_sample=False)[0].tolist()
        return ids

    assert text(DeCoReLogitsProcessor(model, [])) == text(DeCoReLogitsProcessor(model, HEADS, beta=0.0)) == text()
    assert text(DeCoReLogitsProcessor(model, HEADS, alpha=1.0)) == text()
    assert text(DeCoReLogitsProcessor(model, HEADS, mask="zero")) != text()
    torch.testing.assert_close(HeadMaskedAmateur(model, []).logits(IDS), model(IDS).logits[:, -1])


def test_files_of_heads(tmp_path: Path) -> None:
    """The released format: a line of the scores of all trials for each head."""
    path = tmp_path / "heads.json"
    path.write_text(json.dumps({"0-1": [0.1, 0.3], "1-0": [0.9, 0.5], "2-3": [0.0, 0.1], "1-3": [0.5, 0.5]}))
    assert parse_heads(str(path), 3) == [(1, 0), (1, 3), (0, 1)]
    model: Any = tiny_model()
    (processor,) = decoder(f"decore:heads={path},count=2,beta=0.5,mask=zero", model)["logits_processor"]
    assert (processor.amateur.heads, processor.amateur.mask) == (((1, 0), (1, 3)), "zero")
    (named,) = decoder("decore", model, heads="1-0+1-3", cap=0.5)["logits_processor"]
    assert (named.amateur.heads, named.form.keywords) == (((1, 0), (1, 3)), {"cap": 0.5})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "decore needs heads=FILE"),
        ({"heads": "absent.json"}, "no such file; counterpoint retrieval-heads writes one"),
        ({"heads": "3-0"}, r"layers \[3\] are not in LlamaForCausalLM, which has 3"),
        ({"heads": "1-4"}, r"layer 1 has no heads \[4\], it has 4"),
        ({"heads": "1-0", "mask": "none"}, "mask=none is not one of uniform, zero"),
        ({"heads": "1-0", "beta": "much"}, "beta=much is neither entropy nor a number"),
        ({"heads": "1-0", "beta": "-1"}, "beta=-1.0: DeCoRe's strength"),
        ({"heads": "1-0", "beta": "1", "cap": 2.0}, "cap=2.0: the largest entropy"),
    ],
)
def test_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        decoder("decore", tiny_model(), **settings)


def test_wrong_files(tmp_path: Path) -> None:
    path = tmp_path / "heads.json"
    path.write_text("[1, 2]")
    with pytest.raises(ValueError, match="is not a file of heads"):
        parse_heads(str(path), 1)
    path.write_text('{"0-1": [0.5]}')
    with pytest.raises(ValueError, match=r"count=50: .* has 1 heads; take fewer"):
        parse_heads(str(path), 50)


@pytest.mark.parametrize("family", ["mamba", "bloom", "gpt_neox"])
def test_models_whose_heads_are_not_known_are_refused(family: str) -> None:
    model = FAMILY[family].build()
    with pytest.raises(ValueError, match=r"layer 0 of .*: no attention whose query heads are known"):
        DeCoReLogitsProcessor(model, [(0, 0)])


def test_query_norms_with_a_bias_and_sinks_are_no_average() -> None:
    model: Any = tiny_model()
    attention = model.model.layers[0].self_attn
    attention.q_norm = nn.LayerNorm(attention.head_dim)
    with pytest.raises(ValueError, match=r"query norms with a bias.*take mask='zero'"):
        HeadMaskedAmateur(model, [(0, 0)])
    del attention.q_norm
    attention.sinks = nn.Parameter(torch.zeros(4))
    with pytest.raises(ValueError, match="attention sinks"):
        HeadMaskedAmateur(model, [(0, 0)])
    assert HeadMaskedAmateur(model, [(0, 0)], mask="zero").heads == ((0, 0),)
