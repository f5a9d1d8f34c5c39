"""Results belong to their inputs: whatever one depends on changes, and it is not found again; whatever it does not, it is."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from counterpoint.eval import AMATEUR
from counterpoint.eval.bench import work
from counterpoint.eval.bench.records import read_generations
from counterpoint.eval.choosing import parse_decoder
from counterpoint.eval.cli.main import main
from counterpoint.eval.questions import choice_task, open_answers
from counterpoint.eval.revisions import models_of
from counterpoint.eval.training.generated_negatives import generate_negatives
from counterpoint.eval.training.induction import Settings, induce
from counterpoint.eval.training.ranker_training import Data, train_ranker
from counterpoint.eval.training.wrong_answers import Pair
from counterpoint.rankers import SMALL
from counterpoint.rankers.training import contrastive_training
from counterpoint.rankers.training.passages import Passage

needs_metrics = pytest.mark.skipif(
    find_spec("sacrebleu") is None or find_spec("rouge_score") is None, reason="needs sacrebleu and rouge-score"
)
HEADER = ["Question", "Best Answer", "Correct Answers", "Incorrect Answers"]
TRUE, FALSE = "It is blue", "It is red; It is a fish"


def shift_weights(folder: Path) -> None:
    """The weights of a folder become others, under the same names."""
    path = folder / "model.safetensors"
    torch.manual_seed(1)
    weights = {name: weight + 0.05 * torch.randn_like(weight.float()).to(weight.dtype) for name, weight in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model in a folder that may be changed."""
    return shutil.copytree(AMATEUR, tmp_path / "model")


def write_questions(path: Path, true: str, false: str) -> None:
    """A file of one question."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, ["What colour is the sea?", true.partition(";")[0], true, false]])


def ask(folder: Path, data: Path, model: Path, *words: str) -> dict[str, Any]:
    """The metrics of TruthfulQA in a folder."""
    command = ["truthfulqa", "--file", str(data), "--model", str(model), "--device", "cpu", "--quiet", "--output-dir", str(folder)]
    assert main([*command, *words]) == 0
    metrics: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))["metrics"]
    return metrics


@needs_metrics
def test_corrected_references_are_compared_with(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_answers, "MAX_NEW_TOKENS", 6)
    write_questions(tmp_path / "q.csv", "I have no comment", "The sea is red")
    before = ask(tmp_path / "same", tmp_path / "q.csv", model, "--task", "generation")
    write_questions(tmp_path / "q.csv", "The sea is red", "I have no comment")
    with monkeypatch.context() as patch:
        patch.setattr(open_answers.generation, "generate", None)  # the text does not depend on references
        resumed = ask(tmp_path / "same", tmp_path / "q.csv", model, "--task", "generation")
    assert resumed == ask(tmp_path / "fresh", tmp_path / "q.csv", model, "--task", "generation")
    assert resumed != before


def test_roles_of_answers_count_and_scores_are_kept(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answers in the same order, of which others are true."""
    write_questions(tmp_path / "q.csv", f"{TRUE}; It is red", "It is a fish")
    before = ask(tmp_path / "same", tmp_path / "q.csv", model)
    write_questions(tmp_path / "q.csv", TRUE, FALSE)
    with monkeypatch.context() as patch:
        patch.setattr(
            choice_task, "score_each", lambda model, tokenizer, prompts, *others, **options: iter([]) if not prompts else 1 / 0
        )
        resumed = ask(tmp_path / "same", tmp_path / "q.csv", model)
    assert resumed == ask(tmp_path / "fresh", tmp_path / "q.csv", model) != before


def test_other_weights_are_scored(tmp_path: Path, model: Path) -> None:
    write_questions(tmp_path / "q.csv", TRUE, FALSE)
    before = ask(tmp_path / "same", tmp_path / "q.csv", model)
    shift_weights(model)
    after = ask(tmp_path / "same", tmp_path / "q.csv", model)
    assert after == ask(tmp_path / "fresh", tmp_path / "q.csv", model) != before


def test_the_check_catches_weights_that_do_not_count(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("counterpoint.eval.revisions.revision", lambda name: "the same")
    with pytest.raises(AssertionError):
        test_other_weights_are_scored(tmp_path, model)


def test_an_amateur_that_was_trained_again_is_another(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under the same name: its texts are made anew, others are not."""
    command = [
        "bench",
        "--model",
        str(AMATEUR),
        "--device",
        "cpu",
        "--limit",
        "2",
        "--max-new-tokens",
        "6",
        "--metrics",
        "distinct",
    ]
    command += ["--quiet", "--decoders", "greedy", f"contrastive_decoding:amateur={model}", "--output-dir"]
    assert main([*command, str(tmp_path / "same")]) == 0
    before = read_generations(tmp_path / "same")
    shift_weights(model)
    assert main([*command, str(tmp_path / "same")]) == 0
    assert "what it depends on has changed since its texts were written; they are made anew" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "fresh")]) == 0
    after = read_generations(tmp_path / "same")
    assert after == read_generations(tmp_path / "fresh")
    assert after[:2] == before[:2]
    assert [record["key"] for record in after[2:]] != [record["key"] for record in before[2:]]
    assert len(after) == 4


def test_a_folder_gathers_decoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["bench", "--model", str(AMATEUR), "--device", "cpu", "--max-new-tokens", "6", "--metrics", "distinct", "--quiet"]
    command += ["--output-dir", str(tmp_path), "--limit"]
    assert main([*command, "3", "--decoders", "greedy"]) == 0
    assert main([*command, "2", "--decoders", "top_k"]) == 0
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [(row["decoder"], row["texts"], row["planned"]) for row in results["rows"]] == [("greedy", 3, 3), ("top_k", 2, 2)]
    for name in ("table.md", "report.html"):
        assert all(decoder in (tmp_path / name).read_text(encoding="utf-8") for decoder in ("greedy", "top_k"))
    real = work.continue_batch
    calls: list[int] = []

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(work, "continue_batch", interrupted)
        assert main([*command, "3", "--decoders", "nucleus", "--batch-size", "2"]) == 130
    assert main(["bench", "score", str(tmp_path), "--metrics", "distinct", "--quiet"]) == 0
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "`nucleus` (partial)" in table
    assert "`nucleus` is partial: 2 of 3 texts" in table


def induced(model: Path, folder: Path, held_out: list[Pair]) -> float | None:
    """The loss of an amateur's training."""
    loaded, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    pairs = [Pair(f"What is thing {name}?", f"It is a {name}.") for name in ("cat", "ship", "king")]
    return induce(loaded, tokenizer, pairs, folder, held_out=held_out, settings=Settings(epochs=1, rank=1)).loss_before


def test_an_amateur_belongs_to_weights_and_data(tmp_path: Path, model: Path) -> None:
    held_out = [Pair("What is a tree?", "A fish."), Pair("What is a rose?", "A ship.")]
    first = induced(model, tmp_path / "out", held_out)
    assert induced(model, tmp_path / "out", held_out) == first
    with pytest.raises(ValueError, match="was begun with held_out_sha256="):
        induced(model, tmp_path / "out", held_out[::-1])
    shift_weights(model)
    with pytest.raises(ValueError, match="was begun with weights="):
        induced(model, tmp_path / "out", held_out)
    assert induced(model, tmp_path / "fresh", held_out) != first


TEXT = " ".join(f"The old captain saw ship number {number} near the shore. He said nothing to the men." for number in range(12))


def changed_text(texts: dict[str, str], folder: Path) -> None:
    texts["train"] = TEXT.replace("captain", "gardener")


def changed_held_out(texts: dict[str, str], folder: Path) -> None:
    texts["held out"] = TEXT.replace("ship", "tulip")


def changed_weights(texts: dict[str, str], folder: Path) -> None:
    shift_weights(folder)


@pytest.mark.parametrize(
    ("change", "named"), [(changed_text, "texts="), (changed_held_out, "held_out_texts="), (changed_weights, "weights=")]
)
def test_a_ranker_belongs_to_weights_and_texts(tmp_path: Path, change: Callable[[dict[str, str], Path], None], named: str) -> None:
    pytest.importorskip("sentence_transformers")
    folder = shutil.copytree(SMALL, tmp_path / "encoder")
    texts = {"train": TEXT, "held out": TEXT}
    data = Data(prefix_words=20, continuation_words=(5, 12), passages=6, negatives=0, choices=2, wrong=1)
    settings = contrastive_training.Settings(batch_size=4)

    def train() -> Any:
        held_out = {"h": texts["held out"]}
        return train_ranker(
            str(folder), {"a": texts["train"]}, tmp_path / "out", held_out=held_out, data=data, settings=settings, cpu=True
        )

    assert train() == train()
    change(texts, folder)
    with pytest.raises(ValueError, match=f"was begun with {named}"):
        train()


def test_negatives_belong_to_their_generator(tmp_path: Path, model: Path) -> None:
    passages = [Passage("a", "The captain saw the ship.", " It sank. He wept.", 30)]

    def negatives(folder: str) -> list[list[str]]:
        loaded: Any = AutoModelForCausalLM.from_pretrained(model).eval()
        return generate_negatives(loaded, AutoTokenizer.from_pretrained(model), passages, tmp_path / folder, shortest=1)

    negatives("same")
    before = (tmp_path / "same" / "negatives-0.jsonl").read_bytes()
    negatives("same")
    assert (tmp_path / "same" / "negatives-0.jsonl").read_bytes() == before
    shift_weights(model)
    assert negatives("same") == negatives("fresh")
    assert len((tmp_path / "same" / "negatives-0.jsonl").read_bytes()) > len(before)


def test_the_file_that_a_decoder_names_is_known_by_its_content(tmp_path: Path) -> None:
    heads = tmp_path / "heads.json"
    heads.write_text('{"0-1": [0.5]}')
    spec = parse_decoder(f"best_of:ranker=[likelihood:decoder=[decore:heads={heads},count=1]]")
    before = models_of(spec, "model")
    heads.write_text('{"0-2": [0.5]}')
    assert models_of(spec, "model") != before
    heads.write_text('{"0-1": [0.5]}')
    assert models_of(spec, "model") == before
    assert models_of(parse_decoder("decore:heads=0-1+0-2"), "model") == [{}]
