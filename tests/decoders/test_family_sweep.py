"""No method is silently wrong and none crashes, on any family of models that transformers can generate with."""

from __future__ import annotations

import pytest

from every_family import NotBuiltError, kind_of, names
from family_sweep import METHODS, Subject, judge, sweep


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_every_method_is_right_or_refused(name: str) -> None:
    try:
        found = sweep(name)
    except NotBuiltError as error:
        pytest.skip(str(error))
    assert not {method: outcome for method, outcome in found.items() if outcome.verdict in ("wrong", "crash") and method in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_the_sweep_sees_a_wrong_answer(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject("gpt2:GPT2LMHeadModel")
    assert judge(subject, method, "").verdict == "right"
    other = Subject("gpt2:GPT2LMHeadModel", seed=7)
    monkeypatch.setattr(subject, "own", other.own)
    monkeypatch.setattr(subject, "other", other.other)
    assert judge(subject, method, "").verdict == "wrong"


def test_every_family_has_one_kind_and_most_are_causal() -> None:
    kinds = [kind_of(name) for name in names()]
    assert len(set(names())) == len(kinds)
    assert kinds.count("causal") > len(kinds) / 2
    assert {"llama:LlamaForCausalLM", "qwen3_vl:Qwen3VLForConditionalGeneration", "t5:T5ForConditionalGeneration"} <= set(names())
