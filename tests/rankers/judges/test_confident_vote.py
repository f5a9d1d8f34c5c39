"""DeepConf online as a whole, against its parts: warm-up, threshold, what is ended, and who votes with what weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, T5Config, T5ForConditionalGeneration, set_seed

from counterpoint.eval import AMATEUR
from counterpoint.rankers import ConfidenceRanker, ConfidenceStop, ConfidentVote, VoteRanker, confident_vote, rerank

TOKENIZER: Any = AutoTokenizer.from_pretrained(AMATEUR)
INPUTS = TOKENIZER("The whale was", return_tensors="pt")
LENGTH = INPUTS.input_ids.shape[1]
ANSWER = r"\w"
SAMPLE: dict[str, Any] = dict(max_new_tokens=10, temperature=0.8, top_k=0)
SIZES: dict[str, Any] = dict(window=3, top=5)


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    """The embedded amateur."""
    found: PreTrainedModel = AutoModelForCausalLM.from_pretrained(AMATEUR, dtype=torch.float32)
    return found.eval()


def voted(model: PreTrainedModel, **settings: Any) -> ConfidentVote:
    """What is tested, with few texts."""
    set_seed(5)
    numbers: dict[str, Any] = dict(warm_up=6, candidates=16, keep=0.5, batch_size=5)
    return confident_vote(model, INPUTS, TOKENIZER, answer=ANSWER, **SIZES, **SAMPLE, **numbers | settings)


def letter(text: str) -> str | None:
    """The answer: the last character of a word."""
    return next((each for each in reversed(text) if each.isalnum() or each == "_"), None)


def by_hand(model: PreTrainedModel) -> tuple[dict[str, float], list[float], list[bool], float]:
    """Shares of the answers, confidences, what was ended, and the threshold, by the loop of the paper."""
    set_seed(5)
    texts: list[str] = []
    lowest: list[float] = []
    ended: list[bool] = []
    least = -math.inf
    for rows in (5, 1, 5, 5):
        stop = ConfidenceStop(least, **SIZES)
        output = model.generate(
            **INPUTS,
            **SAMPLE,
            do_sample=True,
            num_return_sequences=rows,
            logits_processor=[stop.recorder],
            stopping_criteria=[stop],
        )
        texts += TOKENIZER.batch_decode(output[:, LENGTH:], skip_special_tokens=True)
        lowest += stop.lowest.tolist()
        ended += stop.ended.tolist()
        if len(texts) == 6:
            least = float(numpy.percentile(lowest, 50))
    votes: dict[str, float] = {}
    for place, text in enumerate(texts):
        votes_too = lowest[place] >= least if place < 6 else not ended[place]
        if votes_too and (said := letter(text)) is not None:
            votes[said] = votes.get(said, 0.0) + lowest[place]
    return {said: weight / sum(votes.values()) for said, weight in votes.items()}, lowest, ended, least


def check(model: PreTrainedModel, found: ConfidentVote) -> None:
    """The answers' shares and everything else are those of the loop."""
    shares, lowest, ended, least = by_hand(model)
    assert found.least == pytest.approx(least)
    assert sorted(found.confidences) == pytest.approx(sorted(lowest))
    assert any(ended)
    assert sum(found.ended) == sum(ended)
    best: dict[str, float] = {}
    for text, score in zip(found.texts, found.scores, strict=True):
        said = letter(text)
        if said is not None and score > 0:
            best.setdefault(said, score)
    assert best == pytest.approx(shares, abs=2e-3)  # texts of an answer differ by 0.001 at most
    assert letter(found.texts[0]) == max(shares, key=lambda said: shares[said])


def test_the_loop_of_the_paper(model: PreTrainedModel) -> None:
    found = voted(model)
    assert len(found.texts) == 16
    assert list(found.scores) == sorted(found.scores, reverse=True)
    assert all(score == 0 for score, over in zip(found.scores, found.ended, strict=True) if over)
    check(model, found)


def test_a_plain_majority_in_place_of_the_weighted_one_is_caught(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the released code returns by default."""

    def equally(self: VoteRanker, scores: Sequence[float]) -> list[float]:
        return [1.0] * len(scores)

    monkeypatch.setattr(VoteRanker, "votes", equally)
    with pytest.raises(AssertionError):
        check(model, voted(model))


def test_a_warm_up_alone_is_the_offline_vote(model: PreTrainedModel) -> None:
    found = voted(model, warm_up=12, candidates=12, keep=0.25, batch_size=12)
    set_seed(5)
    kept: Any = dict(output_logits=True, return_dict_in_generate=True)
    output = model.generate(**INPUTS, **SAMPLE, do_sample=True, num_return_sequences=12, **kept)
    offline = VoteRanker(ConfidenceRanker(None, TOKENIZER, **SIZES), answer=ANSWER, keep=0.25)
    expected = rerank(offline, "The whale was", output, tokenizer=TOKENIZER, prompt_length=LENGTH)
    assert found.texts[0] == expected.texts[0]
    assert found.scores[0] == pytest.approx(expected.scores[0], abs=2e-3)
    assert not any(found.ended)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warm_up": 0}, "warm_up=0: a number of texts"),
        ({"batch_size": 0}, "batch_size=0: a number of texts"),
        ({"candidates": 3}, "candidates=3 are all texts, warm_up=6 among them"),
        ({"keep": 0.0}, "keep=0.0: the share of the warm-up"),
        ({"num_beams": 5}, "num_beams=5: ConfidenceStop follows"),
        ({"eos_token_id": None}, "eos_token_id is None, so that generate goes on"),
    ],
)
def test_errors(model: PreTrainedModel, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        voted(model, **settings)


def test_several_prompts_are_refused(model: PreTrainedModel) -> None:
    two = {name: value.repeat(2, 1) for name, value in INPUTS.items()}
    with pytest.raises(ValueError, match="inputs: 2 prompts"):
        confident_vote(model, two, TOKENIZER)


@pytest.mark.parametrize("end", [1, 0])
def test_a_decoders_start_token_is_no_end(end: int) -> None:
    """T5 begins with its padding token, BART with its token of a text's end."""
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    ids = {"pad_token_id": 0, "eos_token_id": end, "decoder_start_token_id": 0}
    model = T5ForConditionalGeneration(T5Config(vocab_size=len(TOKENIZER), **sizes, **ids)).eval()
    found = confident_vote(model, INPUTS, TOKENIZER, answer=r"\w+", warm_up=4, candidates=6, keep=0.5, window=4, max_new_tokens=8)
    assert all(found.texts)
    assert sum(found.scores) > 0
