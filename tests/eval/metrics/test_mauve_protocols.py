"""The protocols of the papers, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from counterpoint.eval import EXPERT
from counterpoint.eval.metrics.mauve_protocols import (
    CONTRASTIVE_DECODING,
    CONTRASTIVE_SEARCH,
    COUNTERPOINT,
    MAUVE_TEXT,
    PROTOCOLS,
    RANKGEN,
    MauveProtocol,
    apply,
    tidy,
)


class Words:
    """A tokenizer whose tokens are words."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def __call__(self, text: str, add_special_tokens: bool, verbose: bool) -> dict[str, Any]:
        assert not add_special_tokens
        self.words += text.split()
        return {"input_ids": [self.words.index(word) for word in text.split()]}

    def decode(self, ids: list[int]) -> str:
        return " ".join(self.words[number] for number in ids)


PROMPTS = ["Once upon a", "It was", "Then"]
CONTINUATIONS = ["time , there was", "", "he  came\nhome and went away"]
REFERENCES = ["time there lived", "the best of times", "she came ."]


def result(protocol: MauveProtocol) -> tuple[list[str], list[str]]:
    return apply(protocol, PROMPTS, CONTINUATIONS, REFERENCES, Words())


@pytest.mark.parametrize("protocol", [CONTRASTIVE_SEARCH, COUNTERPOINT], ids=lambda protocol: protocol.name)
def test_cut_to_the_shorter(protocol: MauveProtocol) -> None:
    assert result(protocol) == (["time there lived", "she came."], ["time, there", "he came home"])


def test_cut_to_a_length() -> None:
    assert CONTRASTIVE_DECODING.cut == 128
    assert result(replace(CONTRASTIVE_DECODING, cut=3)) == (["time there lived", "she came."], ["time, there", "he came home"])
    assert result(replace(CONTRASTIVE_DECODING, cut=4)) == ([], [])  # references have three words
    long = " ".join(["a"] * 200)
    human, generated = apply(CONTRASTIVE_DECODING, ["", ""], [long, long], [long, " ".join(["a"] * 127)], Words())
    assert [len(text.split()) for text in human + generated] == [128, 128]


def test_with_the_prompt() -> None:
    assert result(RANKGEN) == (
        ["Once upon a time there lived", "It was the best of times", "Then she came ."],
        ["Once upon a time , there was", "It was ", "Then he came home and went away"],
    )


def test_as_they_are() -> None:
    assert result(MAUVE_TEXT) == ([REFERENCES[0], REFERENCES[2]], [CONTINUATIONS[0], CONTINUATIONS[2]])


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
@given(texts=st.lists(st.tuples(*[st.text("ab .,\n", max_size=12)] * 3), max_size=5))
def test_pairs_stay_pairs(protocol: MauveProtocol, texts: list[tuple[str, str, str]]) -> None:
    """Each pair by itself gives what it gives among others."""
    tokenizer = AutoTokenizer.from_pretrained(EXPERT) if protocol.cut == "shorter" else Words()
    sides = ([text[n] for text in texts] for n in range(3))
    alone = [apply(protocol, *([part] for part in text), tokenizer) for text in texts]
    assert apply(protocol, *sides, tokenizer) == tuple([text for pair in alone for text in pair[side]] for side in (0, 1))


@given(st.lists(st.sampled_from([*".?!,'a", " ", "n't", "'s", "'re", "'ve", "'m"]), max_size=14))
def test_tidy_is_what_transformers_did_when_decoding(parts: list[str]) -> None:
    text = "".join(parts)
    assert tidy(text) == AutoTokenizer.from_pretrained(EXPERT).clean_up_tokenization(text)


def test_settings_of_the_papers() -> None:
    found = {name: (each.featurizer, each.max_length, each.cut, each.prompted, each.human) for name, each in PROTOCOLS.items()}
    assert found == {
        "counterpoint": (str(EXPERT), 256, "shorter", False, "p"),
        "contrastive_search": ("gpt2-large", 200, "shorter", False, "p"),
        "contrastive_decoding": ("gpt2", 256, 128, False, "p"),
        "rankgen": ("gpt2-large", 768, None, True, "q"),
        "mauve_text": ("gpt2-large", 1024, None, False, "p"),
    }
    assert [each.name for each in PROTOCOLS.values() if not each.published] == ["counterpoint"]
    assert PROTOCOLS["counterpoint"].summary == (
        "continuation only; both cut to the length of the shorter; the first 256 tokens read by the embedded expert; "
        "the references are p"
    )


def test_unequal_numbers() -> None:
    with pytest.raises(ValueError, match="1 prompts, 2 continuations, 1 references: pass one of each a text"):
        apply(MAUVE_TEXT, [""], ["a", "b"], ["c"], Words())
