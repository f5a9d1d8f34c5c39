"""Open answers: BLEU and ROUGE by hand, and the run that generates them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from counterpoint.eval import AMATEUR
from counterpoint.eval.cli.main import main
from counterpoint.eval.questions.answer_similarity import similarity_measures
from counterpoint.eval.questions.truthfulqa import SAMPLE, read_questions


def test_rouge_by_hand() -> None:
    """Words "the cat sat" against "the cat ran off": 2 of 3 and 2 of 4 words, 1 of 2 and 1 of 3 bigrams, 2 in order."""
    found = similarity_measures("the cat sat", ["the cat ran off"], ["a dog"])
    assert found["rouge1_max"] == pytest.approx(4 / 7)
    assert found["rouge2_max"] == pytest.approx(2 / 5)
    assert found["rougeL_max"] == pytest.approx(4 / 7)
    assert found["rouge1_diff"] == found["rouge1_max"]
    assert found["rouge1_acc"] == 1.0


def test_bleu_of_the_same_text_is_1() -> None:
    found = similarity_measures("The water level does not change.", ["The water level does not change."], ["It rises."])
    assert found["bleu_max"] == pytest.approx(1)
    assert found["bleu_acc"] == 1.0


def test_ties_and_no_comment() -> None:
    same = similarity_measures("It is so.", ["It is so."], ["It is so."])
    assert {name: same[f"{name}_acc"] for name in ("bleu", "rouge1", "rouge2", "rougeL")} == dict.fromkeys(
        ("bleu", "rouge1", "rouge2", "rougeL"), 0.0
    )
    assert similarity_measures("I have no comment.", ["Yes."], ["No."])["bleu_acc"] == 1.0
    assert similarity_measures("", ["Yes."], ["No."])["rouge1_max"] == 0.0


@pytest.mark.parametrize("package", ["sacrebleu", "rouge_score.rouge_scorer"])
def test_without_the_packages(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'counterpoint\[generation\]'"):
        similarity_measures("a", ["b"], ["c"])


@pytest.mark.parametrize("words", [["contrastive_search"], ["nucleus"], ["dola", "layers=0"]], ids=lambda words: words[0])
def test_answers_are_generates(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str]) -> None:
    common = ["--model", str(AMATEUR), "--device", "cpu", "--seed", "3", "--decoder", *words]
    arguments = ["truthfulqa", "--task", "generation", "--limit", "2", "--preset", "plain", "--output-dir", str(tmp_path), *common]
    assert main(arguments) == 0
    assert "bleu_max" in capsys.readouterr().out
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["task"], results["questions"]) == ("generation", 2)
    assert "scores" not in results
    lines = (tmp_path / results["question_results"]).read_text().splitlines()
    for line, question in zip(lines, read_questions(SAMPLE).questions, strict=False):
        record, prompt = json.loads(line), f"Q: {question.text}\nA:"
        assert main(["generate", prompt, "--max-new-tokens", "50", *common]) == 0
        text = capsys.readouterr().out.removeprefix(prompt)
        assert record["answer"] == text.partition("Q:")[0].strip()
        assert record["measures"] == similarity_measures(record["answer"], question.true, question.false)
    assert main(arguments) == 0  # from the journal
    assert json.loads((tmp_path / "results.json").read_text()) == results
