"""``counterpoint rerank`` and ``generate --ranker`` through ``main``, on the embedded amateur."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.eval import AMATEUR, progress
from counterpoint.eval.cli.main import main
from counterpoint.rankers import ConsensusRanker, LikelihoodRanker, OverlapRanker, Ranker, rerank

PROMPT = "The old man went to the window and"
SMALL = ["--model", str(AMATEUR), "--device", "cpu"]
LINES = [
    {"prefix": "The white whale of the sea.", "candidates": [" They sat.", " A whale, a whale!", " They sat."], "id": 7},
    {"prompt": "My dear sister", "candidates": [" said he", " my dear"]},
    {"prompt": "It rained.", "candidates": []},
]


def output_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Standard output of a command that succeeds and complains of nothing."""
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def records(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_progress_is_told_where_results_go_elsewhere(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    assert main(["rerank", "--ranker", "overlap", "--file", str(file), "--json", "--output", str(tmp_path / "best.jsonl")]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "counterpoint: prompt 3 of 3" in captured.err
    assert len(records((tmp_path / "best.jsonl").read_text(encoding="utf-8"))) == 3


def failure(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """The one line of a command that fails."""
    assert main(arguments) == code
    error = capsys.readouterr().err
    assert error.startswith("counterpoint: error: ")
    assert error.count("\n") == 1
    return error


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "candidates.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)) + "\n\n", encoding="utf-8")
    return path


def check(found: list[dict[str, Any]], ranker: Ranker, name: str) -> None:
    """Every line as it was, but for its candidates in order, their scores and the ranker."""
    for record, line in zip(found, LINES, strict=True):
        candidates: Any = line["candidates"]
        expected = rerank(ranker, str(line.get("prefix", line.get("prompt"))), candidates)
        assert record == {
            **line,
            "candidates": list(expected.texts),
            "scores": pytest.approx(list(expected.scores), rel=1e-5),
            "order": list(expected.order),
            "ranker": name,
        }


def test_rerank(capsys: pytest.CaptureFixture[str], file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = output_of(capsys, "rerank", "--json", "--ranker", "overlap", "--file", str(file))
    check(records(output), OverlapRanker(), "overlap:n=1")
    monkeypatch.setattr("sys.stdin", io.StringIO(file.read_text(encoding="utf-8")))
    assert output_of(capsys, "rerank", "--json", "--ranker", "overlap") == output


def test_lines_do_not_depend_on_their_batch(
    capsys: pytest.CaptureFixture[str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("counterpoint.eval.cli.rerank.TOGETHER", 1)
    check(
        records(
            output_of(
                capsys,
                "rerank",
                "--json",
                "--ranker",
                "consensus:utility=ngram,n=1,aggregate=false,prune=0.0,layer=0",
                "--file",
                str(file),
            )
        ),
        ConsensusRanker(),
        "consensus:utility=ngram,n=1,aggregate=false,prune=0.0,layer=0",
    )


def test_rerank_by_likelihood(
    capsys: pytest.CaptureFixture[str], file: Path, amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    found = records(output_of(capsys, "rerank", "--json", *SMALL, "--ranker", "likelihood", "form=pmi", "--file", str(file)))
    check(found, LikelihoodRanker(amateur, tokenizer, form="pmi"), "likelihood:form=pmi,decoder=greedy")


def test_only_the_best_are_printed_if_so_asked(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    found = records(output_of(capsys, "rerank", "--json", "--ranker", "overlap", "--top", "1", "--file", str(file)))
    assert [record["candidates"] for record in found] == [[" A whale, a whale!"], [" my dear"], []]
    assert [record["order"] for record in found] == [[1], [1], []]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; write"),
        ("It was", "line 1: not a JSON object"),
        ("[1]", "line 1: not a JSON object"),
        ('{"candidates": ["a"]}', 'line 1: needs one text that is not empty, under "prompt" or "prefix"'),
        ('{"prompt": "x", "prefix": "y", "candidates": ["a"]}', "line 1: needs one text"),
        ('{"prompt": " ", "candidates": ["a"]}', "line 1: needs one text"),
        ('{"prompt": "x", "candidates": ["a"]}\n\n{"prompt": "x"}', 'line 3: needs a list of texts under "candidates"'),
        ('{"prompt": "x", "candidates": "a"}', 'line 1: needs a list of texts under "candidates"'),
        ('{"prompt": "x", "candidates": ["a", 1]}', 'line 1: needs a list of texts under "candidates"'),
        ('{"prompt": "x", "candidates": ["a", " "]}', "line 1: candidate 1 is empty"),
    ],
)
def test_wrong_input_is_named_by_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "wrong.jsonl").write_text(content, encoding="utf-8")
    assert message in failure(capsys, 1, "rerank", "--ranker", "overlap", "--file", str(tmp_path / "wrong.jsonl"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rerank"], "required: --ranker"),
        (["rerank", "--ranker", "overlpa"], "did you mean overlap?"),
        (["rerank", "--ranker", "overlap", "--top", "0"], "'0' is not a whole number of 1 or more"),
        (["generate", "x", "--num-candidates", "3"], "--num-candidates needs a ranker that chooses: name one by --ranker"),
        (["generate", "x", "--tokens-per-round", "3"], "--tokens-per-round needs a ranker that chooses"),
        (
            ["generate", "x", "--ranker", "overlap", "--decoder", "greedy"],
            "greedy proposes only one text, and a ranker chooses among several; take proposals=",
        ),
        (["generate", "x", "--ranker", "overlap", "--compare", "sample", "dola"], "dola proposes only one text"),
        (["generate", "x", "--ranker", "overlap", "--decoder", "best_of"], "best_of proposes only one text"),
        (["generate", "x", "--ranker", "rankgen"], "ranker rankgen needs path"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert message in failure(capsys, 2, *arguments)


def test_failures(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    assert "--file absent: " in failure(capsys, 1, "rerank", "--ranker", "overlap", "--file", "absent")
    error = failure(capsys, 1, "rerank", "--ranker", "rankgen:path=./absent", "--file", str(file))
    assert "ranker rankgen:path=./absent" in error
    long = {"prompt": "x " * 600, "candidates": [" a"]}
    file.write_text(json.dumps(long), encoding="utf-8")
    error = failure(capsys, 1, "rerank", *SMALL, "--ranker", "likelihood", "--file", str(file))
    assert "ranker likelihood:form=per_token" in error
    assert "exceed the model's context of 512" in error


def test_generate_gives_the_best_of_several_samples(
    capsys: pytest.CaptureFixture[str], amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    arguments = ["generate", PROMPT, *SMALL, "--max-new-tokens", "16", "--seed", "3", "--ranker", "overlap", "n=1"]
    arguments += ["--num-candidates", "6", "--decoder", "nucleus", "top_p=0.9"]
    (record,) = records(output_of(capsys, *arguments, "--json"))
    inputs: Any = tokenizer(PROMPT, return_tensors="pt")
    torch.manual_seed(3)
    model: Any = amateur
    ids = model.generate(**inputs, do_sample=True, top_p=0.9, top_k=0, max_new_tokens=16, num_return_sequences=6)
    expected = rerank(OverlapRanker(), PROMPT, ids, tokenizer=tokenizer, prompt_length=inputs.input_ids.shape[1])
    assert record["text"] == expected.texts[0]
    assert sorted(record["candidates"]) == sorted(set(expected.texts))
    assert record["scores"] == sorted(record["scores"], reverse=True)
    assert record["scores"][0] == pytest.approx(expected.scores[0])
    assert (record["decoder"], record["ranker"], record["tokens"]) == ("best_of", "overlap:n=1", 16)
    assert output_of(capsys, *arguments) == f"{PROMPT}{expected.texts[0]}\n"


def test_generate_in_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    """Beams are chosen every few tokens; the sampler without --decoder is the one that RankGen's authors took."""
    arguments = ["generate", PROMPT, *SMALL, "--max-new-tokens", "12", "--ranker", "likelihood", "--json"]
    (record,) = records(output_of(capsys, *arguments, "--num-candidates", "3", "--beams", "2", "--tokens-per-round", "4"))
    assert (record["decoder"], record["parameters"]) == (
        "ranked_search",
        {
            "ranker": "likelihood",
            "beams": 2,
            "candidates": 3,
            "tokens_per_round": 4,
            "round_ends": "",
            "proposals": "[nucleus:top_p=0.9]",
        },
    )
    assert record["ranker"] == "likelihood:form=per_token,decoder=greedy"
    assert record["tokens"] == 12
    assert record["text"] == record["candidates"][0]
    assert record["scores"] == sorted(record["scores"], reverse=True)
    assert 2 <= len(record["candidates"]) <= 6
    (whole,) = records(output_of(capsys, *arguments, "--num-candidates", "6"))
    assert len(whole["candidates"]) == 6


def test_one_candidate_is_plain_sampling(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["generate", PROMPT, *SMALL, "--max-new-tokens", "16", "--decoder", "sample", "--seed", "5"]
    assert output_of(capsys, *arguments, "--ranker", "overlap", "--num-candidates", "1") == output_of(capsys, *arguments)


def test_a_ranker_chooses_for_every_decoder_that_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["generate", PROMPT, *SMALL, "--max-new-tokens", "8", "--json", "--ranker", "overlap", "--num-candidates", "2"]
    found = records(output_of(capsys, *arguments, "--compare", "sample", "top_k:top_k=5"))
    assert [record["parameters"]["proposals"] for record in found] == ["sample", "[top_k:top_k=5]"]
    assert all(len(record["scores"]) == len(record["candidates"]) <= 2 for record in found)
