"""No method is silently wrong and none crashes, on any family of models that transformers can generate with."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import transformers

from every_family import MAPPINGS, NotBuiltError, kind_of, names, out_of_reach
from family_sweep import METHODS, Subject, judge, sweep
from releases import before

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """The script that makes the page of families."""
    spec = spec_from_file_location("make_families", ROOT / "docs" / "make_families.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def of_this_release() -> bool:
    """Whether the page was made with the transformers that the tests run on."""
    return f"that transformers {transformers.__version__} can" in PAGE


@pytest.mark.families
@pytest.mark.parametrize("name", names())
def test_every_method_is_right_or_refused_and_the_page_says_so(name: str, maker: ModuleType) -> None:
    try:
        found = sweep(name)
    except NotBuiltError:
        assert not of_this_release()
        pytest.skip("its default configuration is another one in this release")
    assert not {method: outcome for method, outcome in found.items() if outcome.verdict in ("wrong", "crash") and method in METHODS}
    row = maker.rows_of(PAGE)[name] if of_this_release() else maker.row_of(found)
    assert row == maker.row_of(found)


def test_the_page_has_every_family_and_no_wrong_answer(maker: ModuleType) -> None:
    rows = maker.rows_of(PAGE)
    assert not of_this_release() or list(rows) == [name for kind in MAPPINGS for name in names(kind)]
    assert {row[method] for row in rows.values() for method in METHODS} <= {"right", "refused", "inconsistent", ""}
    unjudged = {name: row["transformers"] for name, row in rows.items() if not row["DoLa"]}
    assert unjudged == {name: f"not judged: {out_of_reach(name)}" for name in unjudged}
    judged = [row for row in rows.values() if row["DoLa"]]
    assert all(all(row[method] for method in METHODS) for row in judged)
    assert maker.totals(rows) in PAGE


def test_a_page_is_read_as_it_was_written(maker: ModuleType) -> None:
    rows = maker.rows_of(PAGE)
    assert maker.rows_of(maker.page_of(rows)) == {
        name: rows.get(name) or maker.rows_of(maker.page_of({}))[name] for name in names()
    }


KINDS = [
    ("the head has layers of its own", "bert:BertLMHeadModel", "DoLa", "right"),
    ("the head has layers of its own", "rembert:RemBertForCausalLM", "SLED", "right"),
    ("the head has layers of its own", "roc_bert:RoCBertForCausalLM", "layer fusion", "right"),
    ("the head is called a decoder", "modernbert-decoder:ModernBertDecoderForCausalLM", "DoLa", "right"),
    ("a layer gives a list", "openai-gpt:OpenAIGPTLMHeadModel", "DoLa", "right"),
    ("two streams of states", "reformer:ReformerModelWithLMHead", "DoLa", "refused"),
    ("layers run several times", "dory:DoryForCausalLM", "layer fusion", "refused"),
    ("several versions of each state", "gemma3n_text:Gemma3nForCausalLM", "SLED", "refused"),
    ("states of tokens that nobody gave", "cpmant:CpmAntForCausalLM", "layer fusion", "refused"),
    ("nothing in the text's configuration tells of ties", "qwen3_vl:Qwen3VLForConditionalGeneration", "DoLa", "right"),
    ("ties of a whole that its parts do not know", "llava:LlavaForConditionalGeneration", "DoLa", "right"),
    (
        "an encoder's output has more than states",
        "switch_transformers:SwitchTransformersForConditionalGeneration",
        "score",
        "right",
    ),
    ("an encoder's output is read by name", "t5gemma:T5GemmaForConditionalGeneration", "contrastive decoding", "right"),
    ("the generation configuration alone has the start", "t5gemma:T5GemmaForConditionalGeneration", "score", "right"),
    ("the generation configuration alone has the start", "plbart:PLBartForConditionalGeneration", "score", "right"),
    ("an encoder hears", "whisper:WhisperForConditionalGeneration", "contrastive decoding", "right"),
    ("an encoder hears", "whisper:WhisperForConditionalGeneration", "context-aware", "right"),
    ("an encoder hears", "whisper:WhisperForConditionalGeneration", "score", "refused"),
    (
        "an encoder hears what it calls by another name",
        "speech-encoder-decoder:SpeechEncoderDecoderModel",
        "context-aware",
        "right",
    ),
    ("an encoder sees", "vision-encoder-decoder:VisionEncoderDecoderModel", "contrastive decoding", "right"),
    ("generate adds a token to be predicted", "xlm:XLMWithLMHeadModel", "contrastive decoding", "refused"),
    ("generate adds a token to be predicted", "xlm:XLMWithLMHeadModel", "speculative", "refused"),
    ("generate adds a token to be predicted", "xlnet:XLNetLMHeadModel", "context-aware", "refused"),
    ("one token alone is unembedded", "xlnet:XLNetLMHeadModel", "its processor", "refused"),
    ("one token at a time after those in the cache", "prophetnet:ProphetNetForCausalLM", "speculative", "refused"),
    ("a prompt is read in both directions", "paligemma:PaliGemmaForConditionalGeneration", "score", "refused"),
]


@pytest.mark.parametrize(("kind", "name", "method", "verdict"), KINDS)
def test_a_kind_of_family_is_right_or_refused(kind: str, name: str, method: str, verdict: str) -> None:
    if name not in names():
        pytest.skip(f"this release of transformers has no {name}")
    if before("5.20") and name.partition(":")[0] in ("speech-encoder-decoder", "vision-encoder-decoder"):
        pytest.skip("transformers before 5.20 makes no default configuration of two models in one")
    if before("5.19") and name.startswith("rembert"):
        pytest.skip("transformers before 5.19 gives RemBERT's logits another value with a cache than without")
    outcome = sweep(name, [method])[method]
    assert outcome.verdict == verdict, outcome


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
