"""``counterpoint score`` through ``main``: what :func:`counterpoint.decoders.score` gives, for JSON and for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders import DoLaLogitsProcessor, score
from counterpoint.eval import AMATEUR
from counterpoint.eval.cli.main import main

SMALL = ["--model", str(AMATEUR), "--device", "cpu", "--dtype", "float32"]
LINES = [
    {"prompt": "The captain of the", "candidates": [" ship", " cheese"], "id": 7},
    {"prefix": "It was", "candidates": [" late."]},
    {"prompt": "My dear", "candidates": []},
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Prompts and continuations."""
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)) + "\n", encoding="utf-8")
    return path


def records(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    """What a command that succeeds prints with ``--json``."""
    assert main(["score", *SMALL, "--json", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return [json.loads(line) for line in captured.out.splitlines()]


@pytest.mark.parametrize("name", ["greedy", "dola"])
def test_scores_are_the_librarys(
    name: str, file: Path, capsys: pytest.CaptureFixture[str], amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    decoder = None if name == "greedy" else DoLaLogitsProcessor(amateur, alpha=0.0)
    prompts = [str(line.get("prompt", line.get("prefix"))) for line in LINES]
    candidates: list[Any] = [line["candidates"] for line in LINES]
    expected = score(amateur, tokenizer, prompts, candidates, decoder)
    found = records(capsys, str(file), "--decoder", name)
    for record, line, scores in zip(found, LINES, expected, strict=True):
        assert line.items() <= record.items()
        assert record["log_probabilities"] == pytest.approx([each.total for each in scores], rel=1e-5)
        assert record["tokens"] == [len(each.tokens) for each in scores]
        assert record["greedy"] == [each.greedy for each in scores]
        assert record["decoder"].partition(":")[0] == name


def test_a_banned_continuation_has_no_score(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = records(capsys, str(file), "--decoder", "dola", "alpha=1")
    assert None in found[0]["log_probabilities"]


def test_people_see_scores_and_texts(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", *SMALL, str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0], lines[3], lines[5]] == ["The captain of the", "It was", "My dear"]
    assert lines[1].split()[1] == "ship"
    assert float(lines[1].split()[0]) > float(lines[2].split()[0])


def own_file(folder: Path, name: str, scores: str) -> Path:
    """A file with a decoder of this name, which gives these scores."""
    path = folder / "mine.py"
    path.write_text(
        "from counterpoint.decoders import DistributionProcessor\n\n\n"
        f"class {name}(DistributionProcessor):\n"
        "    def process(self, outputs, scores):\n"
        f"        return {scores}\n",
        encoding="utf-8",
    )
    return path


def test_somebodys_own_decoder_scores(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = own_file(tmp_path, "Flat", "scores * 0")
    (first, *_) = records(capsys, str(file), "--decoder", f"{own}:Flat")
    ship, cheese = (total / tokens for total, tokens in zip(first["log_probabilities"], first["tokens"], strict=True))
    assert ship == pytest.approx(cheese)
    assert first["origins"][f"{own}:Flat"].startswith("sha256 ")


def test_a_sampler_of_ones_own_is_scored_as_it_draws(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A set of one token, by ``top_p`` as by ``top_k``, bans both continuations; without sampling nothing of that counts."""
    own = own_file(tmp_path, "Same", "scores")

    def totals(settings: str) -> list[float | None]:
        (first, *_) = records(capsys, str(file), "--decoder", f"{own}:Same{settings}")
        found: list[float | None] = first["log_probabilities"]
        return found

    (plain,) = [each["log_probabilities"] for each in records(capsys, str(file), "--decoder", "greedy")[:1]]
    assert totals("") == pytest.approx(plain)
    assert totals(":temperature=5,top_k=1,top_p=0.01") == pytest.approx(plain), "nothing is drawn"
    assert totals(":do_sample=true,top_p=0.01") == totals(":do_sample=true,top_k=1") != totals("")
    assert totals(":do_sample=true,temperature=5") != pytest.approx(plain)


def test_the_file_that_is_read_is_not_written(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = file.read_bytes()
    for command in (["score", str(file)], ["rerank", "--ranker", "overlap", "--file", str(file)]):
        assert main([*command, "--output", str(file)]) == 2
        assert f"--output {file} is the file that" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_scores_stay_with_their_candidates_when_they_are_reranked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scored, lines = tmp_path / "scored.jsonl", tmp_path / "lines.jsonl"
    lines.write_text(json.dumps({"prompt": "The captain", "candidates": [" the the the", " the captain of", " of"]}) + "\n")
    assert main(["score", *SMALL, "--json", str(lines), "--output", str(scored)]) == 0
    before = json.loads(scored.read_text(encoding="utf-8"))
    assert main(["rerank", "--ranker", "overlap", "--json", "--file", str(scored), "--top", "2"]) == 0
    after = json.loads(capsys.readouterr().out)
    assert after["order"] != [0, 1], "the order changes, else this shows nothing"
    for key in ("candidates", "log_probabilities", "tokens", "greedy"):
        assert after[key] == [before[key][place] for place in after["order"]], key


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--decoder", "beam"], 2, "decoder beam: the probability of a text is undefined"),
        (["--decoder", "contrastive_decoding:alpha=2"], 2, "alpha=2 is not a number between 0 and 1"),
        (["--model", "./absent"], 1, "neither a local folder nor"),
    ],
)
def test_errors(file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str) -> None:
    assert main(["score", str(file), *arguments]) == code
    assert message in capsys.readouterr().err
