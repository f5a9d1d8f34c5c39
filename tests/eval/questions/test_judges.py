"""MetricModels of open answers: probabilities by hand, what the command makes of them, and BLEURT's place."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.eval import AMATEUR, EXPERT
from counterpoint.eval.cli.main import main
from counterpoint.eval.questions.answer_similarity import NO_COMMENT, against_references, similarity_measures
from counterpoint.eval.questions.judges import judge, judged, load_bleurt

SENTENCES = st.lists(st.sampled_from(["The", "sky", "is", "blue", ".", "they", "say,"]), min_size=1, max_size=8).map(" ".join)
needs_metrics = pytest.mark.skipif(
    find_spec("sacrebleu") is None or find_spec("rouge_score") is None, reason="needs the extra generation"
)


@pytest.mark.parametrize(("asks", "word"), [("truth", "True"), ("info", "Helpful")])
def test_probabilities_by_hand(amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, asks: str, word: str) -> None:
    found = judge(amateur, tokenizer, ["Is the sky blue?", "Is it?"], ["It is.", "No."], asks)
    before, both = (tokenizer(f"Q: Is it?\nA: No.\n{word}:{end}", return_tensors="pt").input_ids for end in ("", " yes"))
    with torch.no_grad():
        output: Any = amateur(both)
    logs = output.logits[0].log_softmax(dim=-1)
    expected = sum(logs[at - 1, both[0, at]] for at in range(before.shape[1], both.shape[1]))
    assert found[1] == pytest.approx(float(expected.exp()), rel=1e-4)
    assert found[0] != found[1]
    with pytest.raises(ValueError, match="asks='good': a judge is asked for truth or info"):
        judge(amateur, tokenizer, [], [], "good")


def test_shares_by_hand() -> None:
    assert judged([0.5, 0.49, 1.0, 0.0], [0.5, 1.0, 0.0, 0.0]) == {"true": 0.5, "informative": 0.5, "true_informative": 0.25}


@needs_metrics
@settings(max_examples=25)  # the harness draws bootstrap samples
@given(SENTENCES, st.lists(SENTENCES, min_size=1, max_size=3), st.lists(SENTENCES, min_size=1, max_size=3))
def test_similarity_is_that_of_the_harness(answer: str, true: list[str], false: list[str]) -> None:
    harness = pytest.importorskip("lm_eval.tasks.truthfulqa.utils", reason="needs the extra lm-eval")
    doc = {"correct_answers": [*true, NO_COMMENT], "incorrect_answers": false}
    percent = harness.process_results_gen(doc, [answer])
    expected = {name: float(value) / (1 if name.endswith("_acc") else 100) for name, value in percent.items()}
    assert similarity_measures(answer, true, false) == pytest.approx(expected, abs=1e-9)


def test_bleurt_is_asked_for_every_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    class Scorer:
        def __init__(self, checkpoint: str) -> None:
            assert checkpoint == "folder"

        def score(self, references: list[str], candidates: list[str]) -> list[float]:
            return [float(len(reference) - len(candidate)) for reference, candidate in zip(references, candidates, strict=True)]

    module: Any = type(sys)("bleurt.score")
    module.BleurtScorer = Scorer
    monkeypatch.setitem(sys.modules, "bleurt", type(sys)("bleurt"))
    monkeypatch.setitem(sys.modules, "bleurt.score", module)
    found = against_references("blue", ["blue"], ["green sky"], load_bleurt("folder"))
    assert found == {"bleurt_max": len(NO_COMMENT) - 4, "bleurt_diff": len(NO_COMMENT) - 9, "bleurt_acc": 1}


def run(folder: Path, *arguments: str) -> int:
    """The command on three questions."""
    given = ["truthfulqa", "--model", str(AMATEUR), "--device", "cpu", "--limit", "3", "--preset", "plain"]
    return main([*given, "--output-dir", str(folder), *arguments])


@needs_metrics
def test_the_command_asks_judges_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    judges = ["--task", "generation", "--truth-judge", str(AMATEUR), "--info-judge", str(EXPERT)]
    monkeypatch.setattr("counterpoint.eval.questions.open_answers.MAX_NEW_TOKENS", 8)
    assert run(tmp_path, *judges) == 0
    assert "true_informative" in capsys.readouterr().out
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert results["judges"] == {"truth_judge": str(AMATEUR), "info_judge": str(EXPERT), "bleurt": None}
    (file,) = tmp_path.glob("scores-*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3 * (1 + 2)
    file.write_bytes(b"".join(lines[:-1]) + lines[-1][:9])  # killed while it wrote
    assert run(tmp_path, *judges) == 0
    assert file.read_bytes() == b"".join(lines)
    monkeypatch.setattr("counterpoint.eval.questions.judges.judge", None)  # nothing is left to ask
    assert run(tmp_path, *judges) == 0
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == results


def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--truth-judge", "x"], "--truth-judge judges answers that the model writes: add --task generation"),
        (["--task", "generation", "--truth-judge", "x"], "--truth-judge and --info-judge go together"),
    ):
        assert run(tmp_path, *arguments) == 2
        assert message in capsys.readouterr().err


def test_bleurt_is_not_on_an_index(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bleurt.score", None)
    with pytest.raises(ImportError, match="BLEURT is not installed"):
        load_bleurt("folder")
    assert run(tmp_path, "--task", "generation", "--bleurt", "folder") == 1
    assert "github.com/google-research/bleurt" in capsys.readouterr().err
