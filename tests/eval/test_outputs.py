"""Files of texts that were made elsewhere: which prompt each continues, and what is wrong with a row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from counterpoint.eval.outputs import Given, Prompts, read_given

PROMPTS: Prompts = {0: ("It was", " late."), 1: ("She saw", None), 2: ("It was", None), 3: ("The whale", None)}


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(*rows: dict[str, Any], by_place: bool = True) -> list[Given]:
    return read_given(lines(*rows), "outputs.jsonl", PROMPTS, by_place=by_place)


def test_rows_go_with_their_prompts_in_any_order() -> None:
    rows = [
        {"prompt": "The whale", "generated_text": " rose.", "num_generated_tokens": 3},  # as Ray Data has it
        {"messages": [{"role": "user", "content": "She saw"}], "text": "him", "finish_reason": "stop"},
        {"index": 2, "text": "", "tokens": 0, "finish_reason": "length", "seed": 7},
        {"index": 0, "prompt": "<user>It was</user>", "text": " her."},  # an index wins over a prompt in its template
    ]
    assert read(*rows) == [
        Given(3, 0, " rose.", 3, None),
        Given(1, 0, "him", None, True),
        Given(2, 0, "", 0, False),
        Given(0, 0, " her.", None, None),
    ]


def test_several_texts_of_a_prompt_are_its_samples() -> None:
    rows = [{"index": index, "text": f"{number}"} for number, index in enumerate((1, 3, 1, 3, 3, 1))]
    assert [(each.index, each.sample) for each in read(*rows)] == [(1, 0), (3, 0), (1, 1), (3, 1), (3, 2), (1, 2)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no texts in it"),
        ([{"prompt": "She saw"}], 'line 1: no text under "text"'),
        ([{"prompt": "She saw", "text": 3}], 'line 1: no text under "text"'),
        ([{"index": 1, "text": "a"}, {"text": "b"}], "line 2: which prompt does it continue"),
        ([{"prompt": "She saw ", "text": "a"}], "line 1: its prompt is none of the benchmark's 4"),
        ([{"prompt": ["She saw"], "text": "a"}], 'line 1: "prompt" is no text'),
        ([{"prompt": "It was", "text": "a"}], "line 1: its prompt is there 2 times"),
        ([{"index": 4, "text": "a"}], 'line 1: "index" is 4, and the benchmark has prompts 0 to 3'),
        ([{"index": "1", "text": "a"}], "line 1: \"index\" is '1'"),
        ([{"index": True, "text": "a"}], 'line 1: "index" is True'),
        ([{"index": 2, "prompt": "She saw", "text": "a"}], 'line 1: "index" is 2, counted from 0, and its prompt is another one'),
        (
            [{"index": 1, "text": "a"}, {"index": 1, "text": "a"}, {"index": 3, "text": "b"}],
            "prompt 1 has 2 texts and prompt 3 has 1",
        ),
        ([{"index": 1, "text": "She saw him"}, {"index": 3, "text": "The whale"}], "every text begins with its prompt"),
        ([{"index": 1, "text": "a", "tokens": -1}], 'line 1: "tokens" is -1'),
        ([{"index": 1, "text": "a", "num_generated_tokens": 1.5}], 'line 1: "tokens" is 1.5'),
        ([{"index": 1, "text": "\ud800"}], "half of a character"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=r"outputs\.jsonl") as error:
        read(*rows)
    assert message in str(error.value)


@pytest.mark.parametrize("line", ["A text", "[1]", '{"index": 1, "text": "a"', '{"index": NaN, "text": "a"}'])
def test_what_is_no_row_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"outputs\.jsonl, line 2"):
        read_given(f'{{"index": 3, "text": "a"}}\n{line}\n', "outputs.jsonl", PROMPTS)


def test_prompts_that_were_cut_are_told_by_their_words() -> None:
    assert read({"prompt": "The whale", "text": "a"}, by_place=False)
    with pytest.raises(ValueError, match="the benchmark cut its prompts"):
        read({"index": 3, "text": "a"}, by_place=False)


def test_one_text_may_begin_with_its_prompt() -> None:
    assert len(read({"index": 1, "text": "She saw him"}, {"index": 3, "text": " rose"})) == 2
