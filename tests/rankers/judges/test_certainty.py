"""Self-certainty and confidence from plain forwards, from logits that generation kept, and while a text is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, set_seed

from counterpoint.eval import AMATEUR
from counterpoint.rankers import (
    ConfidenceRanker,
    ConfidenceStop,
    OverlapRanker,
    Ranker,
    SelfCertaintyRanker,
    VoteRanker,
    best_of,
    least_kept,
    rerank,
    self_certainty,
    token_confidence,
    trace_confidence,
)
from ranker_laws import CANDIDATES, PREFIXES, tokens_through

TOKENIZER: Any = AutoTokenizer.from_pretrained(AMATEUR)
PROMPT = "The whale was"
CLOSE = dict(atol=2e-4, rtol=1e-4)


@cache
def amateur() -> PreTrainedModel:
    """The embedded amateur."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(AMATEUR, dtype=torch.float32)
    return model.eval()


def distributions(prefix: str, text: str) -> list[list[float]]:
    """p of each token of a continuation, by one plain forward of the whole text."""
    before = len(TOKENIZER(prefix).input_ids)
    ids = TOKENIZER(prefix + text, return_tensors="pt").input_ids
    with torch.no_grad():
        logits = amateur()(ids).logits[0].double()
    return [logits[place].softmax(dim=-1).tolist() for place in range(before - 1, ids.shape[1] - 1)]


def test_the_worked_self_certainty() -> None:
    p = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.25] * 4])
    assert self_certainty(p.log()).tolist() == pytest.approx([0.42981, 0], abs=1e-5)
    assert self_certainty(p.log()).mean().item() == pytest.approx(0.21491, abs=1e-5)
    assert self_certainty(p.log() + 5.0).tolist() == pytest.approx([0.42981, 0], abs=1e-5)  # logits have no origin
    assert self_certainty(torch.zeros(2, 3, 50)).eq(0).all()


def test_the_worked_confidences() -> None:
    assert token_confidence(torch.tensor([0.7, 0.1, 0.1, 0.1]).log(), top=2).item() == pytest.approx(1.3296, abs=1e-4)
    assert token_confidence(torch.full((4,), 0.25).log(), top=4).item() == pytest.approx(1.3863, abs=1e-4)
    c = [2.0, 1.0, 3.0, 1.0]
    assert {m: trace_confidence(c, measure=m, window=2) for m in ("lowest", "bottom", "tail", "mean")} == {
        "lowest": 1.5,
        "bottom": 1.5,
        "tail": 2.0,
        "mean": 1.75,
    }
    assert [least_kept([1.0, 2.0, 3.0, 4.0], keep=keep) for keep in (0.9, 0.1)] == pytest.approx([1.3, 3.7])


@settings(max_examples=60)
@given(st.lists(st.integers(0, 1000).map(float), min_size=1, max_size=60), st.integers(1, 70))
def test_traces_from_scratch(values: list[float], window: int) -> None:
    width = min(window, len(values))
    groups = sorted(sum(values[start : start + width]) / width for start in range(len(values) - width + 1))
    few = groups[: max(1, math.floor(0.1 * len(groups)))]
    expected = {
        "lowest": groups[0],
        "bottom": sum(few) / len(few),
        "tail": sum(values[-window:]) / width,
        "mean": sum(values) / len(values),
    }
    for measure, value in expected.items():
        assert trace_confidence(values, measure=measure, window=window) == pytest.approx(value)
    assert trace_confidence(values, window=1) == min(values)
    assert trace_confidence(values, window=len(values)) == pytest.approx(expected["mean"])


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 1.0])
def test_the_threshold_is_numpys_percentile(keep: float) -> None:
    scores = [0.3, 2.0, 1.1, 5.0, 0.7]
    assert least_kept(scores, keep=keep) == pytest.approx(numpy.percentile(scores, 100 * (1 - keep)))


def test_rankers_against_a_plain_forward() -> None:
    """The first token's distribution counts, and the one after the last does not, unlike in the released code."""
    certainty = SelfCertaintyRanker(amateur(), TOKENIZER).score(PREFIXES[:2], CANDIDATES[:2])
    confidence = ConfidenceRanker(amateur(), TOKENIZER, measure="tail", window=3, top=4).score(PREFIXES[:2], CANDIDATES[:2])
    size = len(TOKENIZER)
    for prefix, texts, certain, confident in zip(PREFIXES, CANDIDATES, certainty, confidence, strict=False):
        for text, one, other in zip(texts, certain.tolist(), confident.tolist(), strict=True):
            each = distributions(prefix, text)
            assert one == pytest.approx(sum(-sum(math.log(size * p) for p in row) / size for row in each) / len(each), **rounded())
            c = [-sum(math.log(p) for p in sorted(row)[-4:]) / 4 for row in each]
            assert other == pytest.approx(sum(c[-3:]) / len(c[-3:]), **rounded())


def test_readings_that_begin_a_token_late_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the released code of self-certainty, which leaves out the distribution that chose the first token."""
    monkeypatch.setattr(SelfCertaintyRanker, "of_text", lambda self, tokens: math.fsum(tokens[1:]) / len(tokens))
    with pytest.raises(AssertionError):
        test_rankers_against_a_plain_forward()


def rounded() -> dict[str, float]:
    """What float32 forwards may differ by."""
    return {"abs": CLOSE["atol"], "rel": CLOSE["rtol"]}


def test_only_tokens_that_the_tokenizer_knows_count() -> None:
    """Rows of the head beyond them were never trained; here they have a logit of -10,000."""
    ranker = SelfCertaintyRanker(amateur(), TOKENIZER)
    logits = torch.randn(3, len(TOKENIZER))
    wider = torch.cat([logits, torch.full((3, 7), -1e4)], dim=1)
    torch.testing.assert_close(ranker.of_tokens(wider), self_certainty(logits))
    assert (self_certainty(wider) > 1 + self_certainty(logits)).all()


def sampled(**options: Any) -> Any:
    """Samples of the amateur after two prompts."""
    set_seed(2)
    inputs = TOKENIZER(PREFIXES[1:], return_tensors="pt", padding=True, padding_side="left")
    output = amateur().generate(
        **inputs, do_sample=True, num_return_sequences=3, max_new_tokens=12, return_dict_in_generate=True, **options
    )
    return output, inputs.input_ids.shape[1]


@pytest.mark.parametrize("kind", ["self_certainty", "confidence"])
def test_logits_that_generation_kept(kind: str) -> None:
    """They are the raw ones whatever shaped the choice, they end where a text does, and no forward runs."""
    end = TOKENIZER(" the", add_special_tokens=False).input_ids
    output, length = sampled(output_logits=True, temperature=0.7, top_k=5, eos_token_id=end)
    assert any(row[length:].tolist().count(end[0]) for row in output.sequences)

    def make(model: Any) -> Ranker:
        return SelfCertaintyRanker(model, TOKENIZER) if kind == "self_certainty" else ConfidenceRanker(model, TOKENIZER, window=3)

    read = dict(tokenizer=TOKENIZER, prompt_length=length, eos_token_id=end)
    with tokens_through(amateur()) as sizes:
        kept = rerank(make(None), PREFIXES[1:], output, **read)
    assert sizes == []
    for one, other in zip(kept, rerank(make(amateur()), PREFIXES[1:], output, **read), strict=True):
        assert (one.texts, one.order) == (other.texts, other.order)
        assert one.scores == pytest.approx(other.scores, **rounded())


def test_logits_are_read_whatever_template_wrote_the_prompt() -> None:
    output, length = sampled(output_logits=True)
    (first, second) = (
        rerank(SelfCertaintyRanker(None, TOKENIZER), prefixes, output, tokenizer=TOKENIZER, prompt_length=length)
        for prefixes in (PREFIXES[1:], ["Q: one?", "Q: two?"])
    )
    assert [each.scores for each in first] == [each.scores for each in second]


def test_logits_that_were_not_kept_are_asked_for() -> None:
    message = r"model=None reads the logits that generation kept, and .* has none: .*output_logits=True"
    output, length = sampled()
    for ranker in (SelfCertaintyRanker(None, TOKENIZER), VoteRanker(ConfidenceRanker(None, TOKENIZER), answer=r"\w+")):
        with pytest.raises(ValueError, match=message):
            rerank(ranker, PREFIXES[1:], output, tokenizer=TOKENIZER, prompt_length=length)
        with pytest.raises(ValueError, match=message):
            ranker.score(["?"], [[" 1"]])
    inputs = TOKENIZER(PROMPT, return_tensors="pt")
    beams = amateur().generate(
        **inputs, num_beams=2, num_return_sequences=2, max_new_tokens=3, output_logits=True, return_dict_in_generate=True
    )
    with pytest.raises(ValueError, match=message):  # whose logits are of beams, not of the texts that are returned
        rerank(SelfCertaintyRanker(None, TOKENIZER), PROMPT, beams, tokenizer=TOKENIZER, prompt_length=inputs.input_ids.shape[1])


def test_wrong_settings() -> None:
    for options, message in (
        ({"measure": "least"}, "measure='least': choose one of lowest, bottom, tail, mean"),
        ({"window": 0}, "window=0"),
        ({"top": 0}, "top=0"),
    ):
        with pytest.raises(ValueError, match=message):
            ConfidenceRanker(amateur(), TOKENIZER, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"top=100000: there are {len(TOKENIZER)} tokens"):
        ConfidenceRanker(amateur(), TOKENIZER, top=100_000).score(["?"], [[" 1"]])
    for make in (lambda: ConfidenceStop(1.0, window=0), lambda: ConfidenceStop(1.0, top=0), lambda: ConfidenceStop(math.nan)):
        with pytest.raises(ValueError, match=r"window=0|top=0|least=nan"):
            make()


WINDOW = 3


def ended_at(logits: Sequence[Any], row: int, least: float) -> int | None:
    """After how many tokens a row is ended, from the logits of all its steps."""
    c = [-(step[row].double().log_softmax(dim=-1).topk(5).values.mean().item()) for step in logits]
    return next((n for n in range(WINDOW, len(c) + 1) if sum(c[n - WINDOW : n]) / WINDOW < least), None)


def generate(stop: ConfidenceStop | None, **options: Any) -> Any:
    """Six samples after one prompt, with the logits of each step."""
    set_seed(3)
    given = {} if stop is None else {"logits_processor": [stop.recorder], "stopping_criteria": [stop]}
    inputs = TOKENIZER([PROMPT], return_tensors="pt")
    kept = dict(output_logits=True, return_dict_in_generate=True)
    return amateur().generate(
        **inputs, **given, **kept, do_sample=True, num_return_sequences=6, max_new_tokens=14, temperature=0.8, **options
    )


def test_each_row_is_ended_by_itself() -> None:
    """The others go on as they would, and every row ends where its own logits say."""
    plain, length = generate(None), len(TOKENIZER(PROMPT).input_ids)
    lowest = [
        trace_confidence([token_confidence(step[row], top=5).item() for step in plain.logits], window=WINDOW) for row in range(6)
    ]
    stop = ConfidenceStop(least_kept(lowest, keep=0.5), window=WINDOW, top=5)
    found = generate(stop)
    ends = [ended_at(plain.logits, row, stop.least) for row in range(6)]
    assert {None} < {*ends}
    first = min(end for end in ends if end is not None)
    assert first < 14
    for row, end in enumerate(ends):
        upto = length + first  # after a row has ended, the others draw other numbers
        assert found.sequences[row, :upto].tolist() == plain.sequences[row, :upto].tolist()
        if end == first:
            assert set(found.sequences[row, upto:].tolist()) <= {TOKENIZER.pad_token_id}
    for row in range(6):
        here = ended_at(found.logits, row, stop.least)
        eos = TOKENIZER.eos_token_id in found.sequences[row, length : length + (here or 14)].tolist()
        assert bool(stop.ended[row]) == (here is not None and not eos)


def test_a_threshold_that_nothing_reaches_is_plain_sampling() -> None:
    stop = ConfidenceStop(-math.inf, window=1)
    assert generate(stop).sequences.tolist() == generate(None).sequences.tolist()
    assert not stop.ended.any()


def test_a_stop_begins_anew_with_every_call_and_is_warm_after_a_whole_window() -> None:
    stop = ConfidenceStop(math.inf, window=5, top=5)
    length = len(TOKENIZER(PROMPT).input_ids)
    for _ in range(2):
        assert generate(stop).sequences.shape == (6, length + 5)
        assert stop.ended.all()
    assert len(stop.traces) == 1


def test_a_stop_keeps_the_lowest_confidence_that_the_ranker_reads_from_logits() -> None:
    """Ends of texts and what follows them have no part in it, and a text shorter than a window is one."""
    length = len(TOKENIZER(PROMPT).input_ids)
    end = int(generate(None).sequences[0, length + 4])
    for window in (3, 5, 100):
        stop = ConfidenceStop(-math.inf, window=window, top=5)
        output = generate(stop, eos_token_id=[end])
        ranker = ConfidenceRanker(None, TOKENIZER, window=window, top=5)
        read = rerank(ranker, PROMPT, output, tokenizer=TOKENIZER, prompt_length=length, eos_token_id=[end])
        expected = dict(zip(read.order, read.scores, strict=True))
        assert stop.lowest.tolist() == pytest.approx([expected[row] for row in range(6)], abs=1e-5)
    with pytest.raises(ValueError, match="lowest: nothing has been generated yet"):
        _ = ConfidenceStop(1.0).lowest


def test_a_text_that_has_ended_is_not_ended() -> None:
    """By an end of text before its window was full, or at the same token."""
    stop = ConfidenceStop(math.inf, window=4, top=5)
    plain, length = generate(None), len(TOKENIZER(PROMPT).input_ids)
    for place in (2, 3):
        end = int(plain.sequences[0, length + place])
        found = generate(stop, eos_token_id=[end])
        finished = [end in row[length : length + 4].tolist() for row in found.sequences]
        assert finished[0]
        assert stop.ended.tolist() == [not each for each in finished]


def test_what_a_stop_cannot_follow_is_refused() -> None:
    stop = ConfidenceStop(1.0)
    inputs = TOKENIZER([PROMPT], return_tensors="pt")
    given: Any = dict(**inputs, max_new_tokens=4, logits_processor=[stop.recorder], stopping_criteria=[stop])
    with pytest.raises(ValueError, match="pass logits_processor="):
        amateur().generate(**inputs, max_new_tokens=4, stopping_criteria=[stop])
    with pytest.raises(ValueError, match="num_beams=2: ConfidenceStop follows"):
        amateur().generate(**given, num_beams=2)
    search: Any = dict(custom_generate=best_of, ranker=OverlapRanker(), processing_class=TOKENIZER, do_sample=True)
    with pytest.raises(ValueError, match="ConfidenceStop follows rows that stay"):
        amateur().generate(**given, **search)
    with pytest.raises(ValueError, match="nothing has been generated yet"):
        _ = stop.ended
