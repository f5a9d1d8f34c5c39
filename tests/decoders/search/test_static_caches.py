"""Contrastive search with static caches: the same tokens in fixed shapes, one graph, and what has no such form refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CompileConfig, PreTrainedModel, StaticCache

import laws
from counterpoint.decoders import adaptive_contrastive_search
from counterpoint.decoders.forwards.fixed_shapes.candidates import StaticTreeForward
from counterpoint.decoders.hf.caches import CACHE
from counterpoint.decoders.hf.fixed_shapes.slots import Move
from families import ENCODER_DECODER, EXPAND, FAMILY, RECURRENT, TREE, Family, prompts

STATIC: dict[str, Any] = {"cache_implementation": "static"}
FAMILIES = [FAMILY[name] for name in ("llama", "gpt2", "mistral_sliding", "gemma2_sliding")]


@pytest.mark.parametrize("family", TREE, ids=str)
def test_tokens_are_those_of_separate_forwards(family: Family) -> None:
    """Prompts of several lengths, padded, past every window of the toy models."""
    laws.l2_fast_equals_plain(family, family.build(), **STATIC)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_rows_are_independent(family: Family) -> None:
    laws.l1_rows_are_independent(family, family.build(), **STATIC)
    laws.l3_calls_do_not_meet(family.build(), **STATIC)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
@pytest.mark.parametrize(
    "arguments",
    [
        {"custom_generate": adaptive_contrastive_search},
        {"do_sample": True, "num_return_sequences": 2, "sample_steps": 3},
        {"prefill_chunk_size": 3},
        {"max_new_tokens": 1},
        {"max_new_tokens": 40},
        {"eos_token_id": list(range(20, 60))},
    ],
    ids=lambda value: next(iter(value)),
)
def test_modes(family: Family, arguments: dict[str, Any]) -> None:
    model = family.build()
    ids, mask = laws.batch(family, model)

    def tokens(**more: Any) -> list[list[int]]:
        torch.manual_seed(0)
        output = model.generate(ids, attention_mask=mask, **(laws.PLAIN | laws.RULE | arguments | more))
        return [row.tolist() for row in output]

    assert tokens(**STATIC) == tokens()


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_outputs_are_those_of_a_growing_cache(family: Family) -> None:
    """Scores, logits, hidden states and attentions; a static layer of transformers' own may be shorter or longer than the text."""
    model = family.build("eager")
    ids, mask = laws.batch(family, model)
    wanted = {"output_scores": True, "output_logits": True, "output_hidden_states": True, "output_attentions": True}
    arguments = laws.PLAIN | laws.RULE | wanted | {"return_dict_in_generate": True}
    static, growing = (model.generate(ids, attention_mask=mask, **arguments, **more) for more in (STATIC, {}))
    assert torch.equal(static.sequences, growing.sequences)
    for name in ("scores", "logits"):
        for one, other in zip(static[name], growing[name], strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    for name in ("hidden_states", "attentions"):
        for step, (one, other) in enumerate(zip(static[name], growing[name], strict=True)):
            for own, expected in zip(one, other, strict=True):
                assert own.shape == expected.shape, (name, step)
                torch.testing.assert_close(own, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_the_cache_can_be_continued_from(family: Family) -> None:
    """It is one of transformers' own, of which greedy search goes on as from a growing one."""
    model = family.build()
    ids, mask = prompts(model, (13,))
    found = {}
    for name, more in (("static", STATIC | {"max_cache_len": 60}), ("growing", {})):
        arguments = laws.PLAIN | {"return_dict_in_generate": True}
        output = model.generate(ids, attention_mask=mask, **(arguments | laws.RULE), **more)
        cache = output[CACHE]
        assert isinstance(cache, StaticCache) == (name == "static")
        assert int(cache.get_seq_length()) == output.sequences.shape[1] - 1
        found[name] = model.generate(output.sequences, **laws.PLAIN, **{CACHE: cache}).tolist()
    assert found["static"] == found["growing"]


def test_a_cache_of_ones_own() -> None:
    """It gets the text, as from greedy search; one that holds text already, or has too little room, is refused."""
    model = FAMILY["llama"].build()
    ids, mask = prompts(model, laws.LENGTHS)
    cache = StaticCache(config=model.config, max_cache_len=40)
    expected = laws.new_tokens(model, ids, mask)
    assert laws.new_tokens(model, ids, mask, **{CACHE: cache}) == expected
    assert int(cache.get_seq_length()) == ids.shape[1] + laws.STEPS - 1
    cache.reset()
    assert laws.new_tokens(model, ids, mask, **{CACHE: cache}) == expected
    with pytest.raises(ValueError, match=r"room for 9 tokens, and max_length=\d+ needs"):
        laws.new_tokens(model, ids, mask, **{CACHE: StaticCache(config=model.config, max_cache_len=9)})
    with pytest.raises(ValueError, match=r"holds \d+ tokens already: call its reset\(\)"):
        laws.new_tokens(model, ids, mask, **{CACHE: cache})


NO_FORM = [*EXPAND, *(family for family in RECURRENT if family.name in ("jamba", "qwen3_next")), ENCODER_DECODER[0]]


@pytest.mark.parametrize("family", [family for family in NO_FORM if family.name != "mpt"], ids=str)  # which has no static caches
def test_what_has_no_static_form_is_refused_by_name(family: Family) -> None:
    model = family.build()
    ids, mask = laws.batch(family, model)
    with pytest.raises(ValueError, match="leave out cache_implementation, or pass 'dynamic'"):
        laws.new_tokens(model, ids, mask, **STATIC)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"candidates": "expand"}, "candidates='expand' repeats rows"),
        ({"cache_implementation": "offloaded_static"}, "offloaded"),
    ],
)
def test_what_cannot_be_static_is_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    model = FAMILY["llama"].build()
    with pytest.raises(ValueError, match=message):
        laws.new_tokens(model, *prompts(model, (6,)), **(STATIC | arguments))


class Counter:
    """A compiler that compiles nothing and counts the graphs that it is given."""

    def __init__(self) -> None:
        self.graphs = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Counter:
        return self  # settings are copied with what is in them

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor], **settings: Any) -> Any:
        self.graphs += 1
        return graph.forward


@pytest.fixture
def counter() -> Iterator[Counter]:
    torch.compiler.reset()
    yield Counter()
    torch.compiler.reset()


def compiled_by_generate(model: PreTrainedModel, counter: Counter) -> dict[str, Any]:
    """As ``generate`` compiles by itself on accelerators."""
    config = CompileConfig(backend=counter)  # type: ignore[arg-type]
    config._compile_all_devices = True
    return {"compile_config": config}


def compiled_by_the_user(model: PreTrainedModel, counter: Counter) -> dict[str, Any]:
    model.compile(backend=counter)
    return {}


@pytest.mark.parametrize("way", [compiled_by_generate, compiled_by_the_user])
@pytest.mark.parametrize("name", ["llama", "gemma2_sliding"])
def test_one_graph_serves_all_steps_and_calls(name: str, way: Any, counter: Counter) -> None:
    """The same tokens, from one graph: later steps and later calls compile nothing."""
    family = FAMILY[name]
    expected = laws.reference(family, family.build())
    model = family.build()
    ids, mask = laws.batch(family, model)
    try:
        more = STATIC | way(model, counter)
        assert laws.new_tokens(model, ids, mask, **more) == expected
        assert counter.graphs == 1
        assert laws.new_tokens(model, ids, mask, **more) == expected
        assert counter.graphs == 1
    finally:
        model._compiled_call_impl = None
        vars(model).pop("_compiled_call", None)


def caught(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, broken: Any) -> None:
    """With this in place the law fails, the library's own measurement of the form, which would refuse it, left out."""
    family = FAMILY["mistral_sliding"]
    model = family.build()
    laws.l2_fast_equals_plain(family, model, **STATIC)
    monkeypatch.setattr(where, name, broken)
    monkeypatch.setattr("counterpoint.decoders.forwards.fixed_shapes.support._static_error", lambda model: (0.0, ""))
    with pytest.raises(AssertionError):
        laws.l2_fast_equals_plain(family, model, **STATIC)


def test_a_candidate_that_was_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    keep = Move.keep
    caught(monkeypatch, Move, "keep", lambda self, chosen, token: keep(self, torch.zeros_like(chosen), token))


def test_a_window_that_slides_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    keep = Move.keep
    caught(monkeypatch, Move, "keep", lambda self, chosen, token: keep(self, chosen, token + 1))


def test_padding_that_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = StaticTreeForward._masks
    caught(monkeypatch, StaticTreeForward, "_masks", lambda self, seen, dtype: masks(self, None, dtype))


def test_a_broken_form_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library measures the form on the very model before it trusts it."""
    keep = Move.keep
    model = deepcopy(FAMILY["qwen3"].build())  # nobody has measured it yet
    monkeypatch.setattr(Move, "keep", lambda self, chosen, token: keep(self, torch.zeros_like(chosen), token))
    with pytest.raises(ValueError, match="does not give equal states with slots of a fixed number"):
        laws.new_tokens(model, *prompts(model, laws.LENGTHS), **STATIC)
