"""``compare()``: the texts of ``generate``, measures of all of a decoder's texts, a table for notebooks."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders import decoder
from counterpoint.eval import compare, diversity, rep_n

PROMPTS = ["The whale rose", "It was a"]


@pytest.fixture(scope="module")
def found(amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Any:
    """Three decoders on two prompts."""
    return compare(amateur, tokenizer, PROMPTS, ["greedy", "contrastive_search:top_k=3", "best_of:ranker=overlap,candidates=2"])


def test_texts_are_those_of_generate(found: Any, amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    assert found.decoders[:2] == ("greedy", "contrastive_search:penalty_alpha=0.6,top_k=3")
    model: Any = amateur
    for choice, texts in zip(found.decoders[:2], found.texts, strict=False):
        for prompt, text in zip(PROMPTS, texts, strict=True):
            inputs = tokenizer(prompt, return_tensors="pt")
            ids = model.generate(**inputs, **decoder(choice, model), max_new_tokens=64)
            assert text == tokenizer.decode(ids[0], skip_special_tokens=True)[len(prompt) :]


def test_measures_are_those_of_all_texts(found: Any) -> None:
    for texts, measures in zip(found.texts, found.measures, strict=True):
        assert measures["diversity"] == diversity(texts)
        assert measures["rep_4"] == rep_n(texts, 4)
        assert measures["tokens_per_second"] > 0
    assert found.measures[0]["diversity"] < found.measures[1]["diversity"]  # greedy search loops


def test_short_texts_have_no_measures(amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    short = compare(amateur, tokenizer, "It was", ["greedy"], max_new_tokens=1)
    assert (short.measures[0]["rep_4"], short.measures[0]["diversity"]) == (None, None)
    assert "n/a" in str(short)


def test_tables(found: Any) -> None:
    rows = found.rows()
    assert [(row["decoder"], row["prompt"]) for row in rows[:2]] == [("greedy", prompt) for prompt in PROMPTS]
    assert len(rows) == 6
    cells: list[str] = []

    class Cells(HTMLParser):
        def handle_data(self, data: str) -> None:
            cells.append(data)

    Cells().feed(found._repr_html_())
    assert {"greedy", *PROMPTS} <= set(cells)
    assert any(found.texts[0][0][:20] in cell for cell in cells)


def test_rows_become_a_data_frame(found: Any) -> None:
    pandas = pytest.importorskip("pandas", reason="whoever asks for it has it")
    frame = found.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.shape == (6, len(found.rows()[0]))
    assert list(frame["prompt"][:2]) == PROMPTS
