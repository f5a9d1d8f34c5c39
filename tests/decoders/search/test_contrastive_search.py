"""Contrastive search against the paper's rule from scratch, over families, attentions and ways to compute candidates."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import laws
from counterpoint.decoders import candidate_method, contrastive_search
from counterpoint.decoders.search.contrastive_score import Context, contrastive_scores, unit
from families import ALL, ENCODER_DECODER, EXPAND, FAMILY, RECURRENT, STATELESS, TREE, Family, prompts

CACHED = [family for family in ALL if family.kind != "stateless_cache"]


def by_attention(families: list[Family]) -> pytest.MarkDecorator:
    """Each family with each attention its class supports."""
    return pytest.mark.parametrize(
        ("family", "attention"),
        [pytest.param(family, attention, id=f"{family}-{attention}") for family in families for attention in family.attentions],
    )


@by_attention(CACHED)
def test_is_the_papers_rule_in_a_padded_batch(family: Family, attention: str) -> None:
    laws.l2_fast_equals_plain(family, family.build(attention))


@by_attention(TREE)
def test_tree_equals_rows(family: Family, attention: str) -> None:
    model = family.build(attention)
    assert candidate_method(model)[0] == "tree"
    laws.l2_fast_equals_plain(family, model, candidates="tree")
    laws.l2_fast_equals_plain(family, model, candidates="expand")


@pytest.mark.parametrize("family", ALL, ids=str)
def test_without_a_cache(family: Family) -> None:
    laws.l2_fast_equals_plain(family, family.build(), use_cache=False)


@pytest.mark.parametrize("family", [family for family in CACHED if family.padded], ids=str)
def test_rows_are_independent(family: Family) -> None:
    laws.l1_rows_are_independent(family, family.build())


@pytest.mark.parametrize("family", [family for family in CACHED if family.padded], ids=str)
def test_degenerate_settings_are_greedy(family: Family) -> None:
    laws.l5_degenerate_settings_are_greedy(family, family.build())


@pytest.mark.parametrize("family", [*EXPAND, *RECURRENT, *STATELESS], ids=str)
def test_models_that_cannot_take_a_tree_are_known(family: Family) -> None:
    method, reason = candidate_method(family.build())
    assert method == "expand"
    assert reason


@pytest.mark.parametrize("name", ["mpt", "mamba", "bloom"])
def test_a_tree_asked_for_is_refused_where_it_is_wrong(name: str) -> None:
    model = FAMILY[name].build()
    ids, mask = prompts(model, (6, 4))
    with pytest.raises(ValueError, match="candidates='tree' is not possible here"):
        laws.new_tokens(model, ids, mask, candidates="tree")


@pytest.mark.parametrize("family", STATELESS, ids=str)
def test_state_out_of_reach_is_refused(family: Family) -> None:
    model = family.build()
    with pytest.raises(ValueError, match="use_cache=False"):
        laws.new_tokens(model, prompts(model, (6,))[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3_sliding"])
def test_other_dtypes(name: str, dtype: torch.dtype) -> None:
    """Rounding may change tokens, so what holds exactly is checked: the tree is chosen and the texts stay apart per row."""
    model = type(FAMILY[name].build())(FAMILY[name].build().config).to(dtype).eval()
    model.load_state_dict(FAMILY[name].build().state_dict())
    assert candidate_method(model)[0] == "tree"
    ids, mask = prompts(model, (9, 9))
    together = laws.new_tokens(model, ids, mask)
    if dtype == torch.float64:
        assert together == [laws.new_tokens(model, row[None])[0] for row in ids]
    assert laws.new_tokens(model, ids.flip(0), mask) == together[::-1]


def test_long_texts_outgrow_every_buffer() -> None:
    family = FAMILY["llama"]
    model = family.build()
    ids, mask = prompts(model, (3, 2))
    tree = laws.new_tokens(model, ids, mask, max_new_tokens=150)
    assert tree == laws.new_tokens(model, ids, mask, max_new_tokens=150, candidates="expand")


@given(
    scores=st.lists(st.tuples(st.floats(0, 1, width=32), st.floats(-1, 1, width=32)), min_size=1, max_size=8),
    alpha=st.floats(0, 1, width=32),
)
def test_scores_are_the_equation(scores: list[tuple[float, float]], alpha: float) -> None:
    p, cosine = (torch.tensor([column]) for column in zip(*scores, strict=True))
    found = contrastive_scores(p, cosine, alpha)[0].tolist()
    assert found == pytest.approx([(1 - alpha) * a - alpha * b for a, b in scores], abs=1e-6)


@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 3), st.randoms(use_true_random=False))
def test_context_similarity(length: int, k: int, batch: int, random: object) -> None:
    generator = torch.Generator().manual_seed(random.randint(0, 10**6))  # type: ignore[attr-defined]
    hidden = torch.randn(batch, length + 3, 8, generator=generator)
    candidates = torch.randn(batch, k, 8, generator=generator)
    seen = torch.rand(batch, length, generator=generator) < 0.5
    seen[:, -1] = True
    context = Context(unit(hidden[:, :length]), seen)
    for step in range(3):
        context.append(unit(hidden[:, length + step : length + step + 1]))
    found = context.similarity(unit(candidates))
    for row in range(batch):
        kept = torch.cat([hidden[row, :length][seen[row]], hidden[row, length:]])
        for index in range(k):
            cosine = torch.nn.functional.cosine_similarity(candidates[row, index][None], kept, dim=-1).max()
            assert found[row, index].item() == pytest.approx(cosine.item(), abs=1e-5)


def test_ties_go_to_the_likelier_token() -> None:
    """At alpha=1 with one context vector all of whose cosines are equal, only the order of candidates decides."""
    family = FAMILY["llama"]
    model = family.build()
    ids, _ = prompts(model, (5,))
    output = model.generate(
        ids,
        custom_generate=contrastive_search,
        penalty_alpha=1e-9,
        top_k=2,
        logits_processor=[lambda ids, scores: torch.zeros_like(scores)],
        **laws.PLAIN,
    )
    assert output.shape[1] == 5 + laws.STEPS


@pytest.mark.parametrize("family", ENCODER_DECODER, ids=str)
def test_encoder_decoder_outputs(family: Family) -> None:
    model = family.build()
    ids, mask = laws.batch(family, model)
    output = model.generate(
        ids,
        attention_mask=mask,
        **(laws.PLAIN | laws.RULE),
        return_dict_in_generate=True,
        output_hidden_states=True,
        output_attentions=False,
        output_scores=True,
    )
    assert output.sequences.shape == (3, 1 + laws.STEPS)
    assert len(output.decoder_hidden_states) == laws.STEPS
    assert output.decoder_hidden_states[3][-1].shape[:2] == (3, 1)
    assert output.encoder_hidden_states is not None
    forward = model(input_ids=ids, attention_mask=mask, decoder_input_ids=output.sequences, output_hidden_states=True)
    torch.testing.assert_close(output.decoder_hidden_states[3][-1][:, 0], forward.decoder_hidden_states[-1][:, 3])
