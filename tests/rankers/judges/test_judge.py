"""A model that is asked: log-odds by a plain forward, both orders, calibration, and what cannot be asked."""

from __future__ import annotations

import copy
import itertools
import math
from functools import cache
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from counterpoint.eval import AMATEUR
from counterpoint.rankers import JudgeRanker
from counterpoint.rankers.judges import judge
from ranker_laws import CANDIDATES, PREFIXES
from reward_models import chat_tokenizer

TOKENIZER: Any = AutoTokenizer.from_pretrained(AMATEUR)
CLOSE: dict[str, float] = {"abs": 2e-4, "rel": 1e-4}


@cache
def amateur() -> PreTrainedModel:
    """The embedded amateur."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(AMATEUR, dtype=torch.float32)
    return model.eval()


def spellings(answer: str) -> set[int]:
    """The single tokens that say an answer; where there are none, those that begin it."""
    cases = (answer, answer.lower(), answer.upper(), answer.capitalize())
    ids = [TOKENIZER(space + each, add_special_tokens=False).input_ids for each in cases for space in ("", " ")]
    return {each[0] for each in ids if len(each) == 1} or {each[0] for each in ids}


def asked(text: str, first: str, second: str) -> float:
    """The log-odds at the end of a question, by a plain forward."""
    with torch.no_grad():
        p = amateur()(**TOKENIZER(text, return_tensors="pt")).logits[0, -1].double().softmax(dim=-1)
    one, other = (sum(float(p[token]) for token in spellings(answer)) for answer in (first, second))
    return math.log(one / other)


def test_log_odds_by_hand() -> None:
    (scores,) = JudgeRanker(amateur(), TOKENIZER).score(PREFIXES[1:2], CANDIDATES[1:2])
    expected = [
        asked(f"Question:\n{PREFIXES[1]}\n\nAnswer:\n{text.strip()}\n\nIs the answer correct? Say Yes or No.", "Yes", "No")
        for text in CANDIDATES[1]
    ]
    assert scores.tolist() == pytest.approx(expected, **CLOSE)


def test_calibration_takes_off_the_odds_of_no_answer() -> None:
    prompt = "{prefix} {text}? "
    plain, calibrated = (
        JudgeRanker(amateur(), TOKENIZER, prompt=prompt, calibrate=calibrate).score(PREFIXES, CANDIDATES)
        for calibrate in (False, True)
    )
    for prefix, one, other in zip(PREFIXES, plain, calibrated, strict=True):
        nothing = asked(f"{prefix} N/A? ", "Yes", "No")
        assert (one - other).tolist() == pytest.approx([nothing] * len(one), **CLOSE)


def test_pairs_by_hand() -> None:
    prompt = "{prefix}\n1:{first}\n2:{second}\nBetter:"
    texts = [*CANDIDATES[0][:3], CANDIDATES[0][0]]  # one of them twice
    ranker = JudgeRanker(amateur(), TOKENIZER, pairwise=True, prompt=prompt, answers=("first", "second"))
    (scores,) = ranker.score(PREFIXES[2:], [texts])
    better = [[0.5] * 4 for _ in range(4)]
    for i, j in itertools.permutations(range(4), 2):
        if texts[i] != texts[j]:
            one, other = (
                1 / (1 + math.exp(-asked(f"{PREFIXES[2]}\n1:{a.strip()}\n2:{b.strip()}\nBetter:", "first", "second")))
                for a, b in ((texts[i], texts[j]), (texts[j], texts[i]))
            )
            better[i][j] = (one + 1 - other) / 2
    expected = [sum(better[i][j] for j in range(4) if j != i) / 3 for i in range(4)]
    assert scores.tolist() == pytest.approx(expected, **CLOSE)
    assert float(scores.sum()) == pytest.approx(2)


def test_a_model_that_prefers_a_place_finds_all_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    ranker = JudgeRanker(amateur(), TOKENIZER, pairwise=True)
    monkeypatch.setattr(judge.Asked, "__call__", lambda self, questions: [3.0] * len(questions))
    (scores,) = ranker.score(["Why?"], [["a", "b", "c"]])
    assert scores.tolist() == pytest.approx([0.5] * 3)
    (alone,) = ranker.score(["Why?"], [["a"]])
    assert alone.tolist() == [0.5]
    lengths = lambda self, questions: [float(len(each["first"]) - len(each["second"])) for each in questions]  # noqa: E731
    monkeypatch.setattr(judge.Asked, "__call__", lengths)
    (scores,) = ranker.score(["Why?"], [["a", "bb", "ccc"]])
    one, two = (1 / (1 + math.exp(-difference)) for difference in (1, 2))
    assert scores.tolist() == pytest.approx([(2 - one - two) / 2, 0.5, (one + two) / 2])


def test_places_within_texts_stay_as_they_are() -> None:
    ranker = JudgeRanker(amateur(), TOKENIZER, prompt=r"{prefix} \frac{1}{2} {text}")
    read = TOKENIZER.decode(ranker.question("{text}?", {"text": "{prefix}"}), skip_special_tokens=True)
    assert read == r"{text}? \frac{1}{2} {prefix}"


def test_a_chat_model_is_asked_as_a_user_does() -> None:
    tokenizer = chat_tokenizer()
    ranker = JudgeRanker(amateur(), tokenizer, prompt="{prefix} {text}")
    begin, end = tokenizer.bos_token, tokenizer.eos_token
    assert tokenizer.decode(ranker.question("Why?", {"text": "No."})) == f"{begin}user: Why? No.{end}assistant: "


def test_what_cannot_be_asked() -> None:
    for options, message in (
        ({"prompt": "{prefix}?"}, r"has no \{text\}"),
        ({"prompt": "{prefix} {text}", "pairwise": True}, r"has no \{first\}"),
        ({"calibrate": True, "pairwise": True}, "both orders are asked"),
        ({"answers": ("the", "The")}, "begin with the same token"),
    ):
        with pytest.raises(ValueError, match=message):
            JudgeRanker(amateur(), copy.deepcopy(TOKENIZER), **options)  # type: ignore[arg-type]
