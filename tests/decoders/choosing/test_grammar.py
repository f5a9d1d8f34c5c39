"""The grammar of a choice: what is written is read again, whatever the texts hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.decoders.choosing.grammar import join_choice, nested_choices, quoted, split_choice, unquoted
from counterpoint.decoders.choosing.rows import DecoderRow
from counterpoint.decoders.choosing.specs import Spec, parse
from counterpoint.decoders.named import TABLE
from counterpoint.rankers.named import RANKER_TABLE

KEYS = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.dictionaries(KEYS, TEXTS, max_size=4))
def test_any_text_comes_back(values: dict[str, str]) -> None:
    text = join_choice("name", [(key, quoted(value)) for key, value in values.items()])
    name, pairs = split_choice(text)
    assert name == "name"
    assert {key: unquoted(value) for key, value in pairs} == values


@given(TEXTS, st.floats(0, 1), st.sampled_from(["high", "low", "2+4"]), st.booleans(), st.integers(1, 10**6))
def test_any_choice_comes_back(prompt: str, alpha: float, layers: str, final_norm: bool, candidates: int) -> None:
    for name, values in (
        ("contrastive_decoding", {"amateur_prompt": prompt, "alpha": alpha}),
        ("dola", {"layers": layers, "final_norm": final_norm}),
        ("top_k", {"top_k": candidates}),
    ):
        spec = parse(name, TABLE, values)
        assert parse(str(spec), TABLE) == spec
        assert parse(spec.short(), TABLE) == spec


def test_what_is_nested_comes_back() -> None:
    spec = parse('likelihood:form=pmi,decoder=[contrastive_decoding:amateur_prompt="a]b, [c"]', RANKER_TABLE)
    (decoder,) = spec.nested()
    assert decoder.values["amateur_prompt"] == "a]b, [c"
    assert parse(str(spec), RANKER_TABLE) == spec
    assert nested_choices("[a:b=[c]]+d") == ["a:b=[c]", "d"]


@pytest.mark.parametrize(
    ("text", "name", "pairs"),
    [
        ("greedy", "greedy", []),
        ("a:b=c=d", "a", [("b", "c=d")]),
        ("a:b=don't", "a", [("b", "don't")]),
        ("a:b='x,y',c=2", "a", [("b", "'x,y'"), ("c", "2")]),
        ("pkg.mod:Class:b=1", "pkg.mod:Class", [("b", "1")]),
        ("./my decoders/x.py:Class", "./my decoders/x.py:Class", []),
        ("C:\\x.py", "C", []),
    ][:-1],
)
def test_names_and_pairs(text: str, name: str, pairs: list[tuple[str, str]]) -> None:
    assert split_choice(text) == (name, pairs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a:b="c', "leaves a quote open"),
        ("a:b=[c", "leaves a bracket open"),
        ("a:b=c]", "closes a bracket"),
        ("a:b=c|d", "a sweep: --decoders and --compare take it"),
        ("a:b", "'b' is not key=value"),
    ],
)
def test_what_is_not_in_the_grammar(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_choice(text)


def test_words_of_a_shell_need_no_quotes() -> None:
    words: Spec[DecoderRow] = parse(["contrastive_decoding", "amateur_prompt=Lie, always: [really]"], TABLE)
    assert words.values["amateur_prompt"] == "Lie, always: [really]"
    assert parse(str(words), TABLE) == words
