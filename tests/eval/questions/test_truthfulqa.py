"""``counterpoint truthfulqa``: what it reads, what it scores, what survives a kill, and what is never reused."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, RepetitionPenaltyLogitsProcessor

from counterpoint.decoders import score
from counterpoint.eval import AMATEUR, EXPERT
from counterpoint.eval.cli.main import main
from counterpoint.eval.journal import Journal, releases
from counterpoint.eval.questions import choice_task, qa_prompts
from counterpoint.eval.questions.qa_prompts import OWN_PRIMER
from counterpoint.eval.questions.truthfulqa import SAMPLE, Question, find_questions, read_questions
from counterpoint.eval.questions.truthfulqa_task import options_of

HEADER = "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source"
ROW = "A,B,Why?,Because,Because; It is so,No reason; Who knows,nowhere"


def run(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> dict[str, Any]:
    """The results of a run that succeeds."""
    assert main(["truthfulqa", "--device", "cpu", "--dtype", "float32", "--output-dir", str(folder), *arguments]) == 0
    capsys.readouterr()
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return results


def error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a run that fails."""
    assert main(["truthfulqa", *arguments]) in (1, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def records(folder: Path, results: dict[str, Any]) -> list[dict[str, Any]]:
    """The results of the questions."""
    return [json.loads(line) for line in (folder / results["question_results"]).read_text().splitlines()]


def reference(path: Path, prompt: str, answer: str) -> float:
    """An answer's log-probability by one forward of prompt and answer."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    before, ids = len(tokenizer(prompt)["input_ids"]), tokenizer(f"{prompt} {answer}", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = model(ids).logits[0].double().log_softmax(dim=-1)
    return sum(float(logits[index - 1, ids[0, index]]) for index in range(before, ids.shape[1]))


def test_scores_are_those_of_a_forward_for_each_answer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    results = run(capsys, tmp_path, "--limit", "2")
    assert results["preset"] == "own"
    assert results["scores"] == "log-probabilities"
    assert results["data"]["release"] == "the built-in sample"
    assert results["data"]["sha256"] == hashlib.sha256(SAMPLE.read_bytes()).hexdigest()
    for record, question in zip(records(tmp_path, results), read_questions(SAMPLE).questions, strict=False):
        prompt = f"{OWN_PRIMER}\n\nQ: {question.text}\nA:"
        expected = {answer: reference(EXPERT, prompt, answer) for answer in question.answers()}
        assert record["scores"] == pytest.approx(expected, abs=1e-3)
        true, false = ([expected[answer] for answer in answers] for answers in (question.true, question.false))
        assert record["measures"]["mc1"] == float(expected[question.best] > max(false))
        assert record["measures"]["mc2"] == pytest.approx(sum(map(math.exp, true)) / sum(map(math.exp, [*true, *false])), abs=1e-3)
        assert record["measures"]["mc3"] == sum(score > max(false) for score in true) / len(true)
    for measure in ("mc1", "mc2", "mc3"):
        mean = sum(record["measures"][measure] for record in records(tmp_path, results)) / 2
        assert results["metrics"][measure] == pytest.approx(mean)


DECODERS = [
    ["contrastive_decoding"],
    ["contrastive_reasoning", f"amateur={AMATEUR}", "beta=4"],
    ["induce_then_contrast", "amateur_prompt=Say what is false."],
    ["context_aware", "beta=1"],
    ["dola", "layers=1+2", "repetition_penalty=1.2"],
    ["sled", "evolution_rate=20", "evolution_scale=50"],
    ["layer_fusion", "guide=Say what is true.", "refocus_weight=0.5"],
]


@pytest.mark.parametrize("words", DECODERS, ids=lambda words: words[0])
def test_every_contrast_scores_and_generates(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str]) -> None:
    plain = run(capsys, tmp_path / "plain", "--limit", "3")
    results = run(capsys, tmp_path / "contrast", "--limit", "3", "--no-renormalise", "--decoder", *words)
    assert results["decoder"] == words[0]
    assert results["scores"] == "unnormalised contrast"
    assert results["banned_answers"] == 0
    scores = [record["scores"] for record in records(tmp_path / "contrast", results)]
    assert scores != [record["scores"] for record in records(tmp_path / "plain", plain)]
    texts = []
    for decoder in (words, ["greedy"]):
        assert main(["generate", "The sea.\n\nIt was the", "--device", "cpu", "--max-new-tokens", "12", "--decoder", *decoder]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] != texts[1]


def test_an_adapter_is_an_amateur_and_so_is_the_model_it_makes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The expert under an adapter, with a cache and switches of its own, is the same model with the adapter merged into it."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(2)
    config = peft.LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(AMATEUR), config).save_pretrained(tmp_path / "adapter")
    common = [
        "--model",
        str(AMATEUR),
        "--limit",
        "3",
        "--decoder",
        "induce_then_contrast",
        f"amateur_adapter={tmp_path / 'adapter'}",
    ]
    switched = run(capsys, tmp_path / "1", *common)
    merged = run(capsys, tmp_path / "2", *common, f"amateur={AMATEUR}")
    plain = run(capsys, tmp_path / "3", *common[:4])
    scores = [
        [record["scores"] for record in records(tmp_path / folder, results)]
        for folder, results in (("1", switched), ("2", merged), ("3", plain))
    ]
    for one, other, model in zip(*scores, strict=True):
        assert one == pytest.approx(other, abs=1e-3)
        assert one != pytest.approx(model, abs=0.1)


def test_another_vocabulary_is_an_error_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(AMATEUR, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    first, second = list(vocabulary)[900:902]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    arguments = ["--limit", "1", "--output-dir", str(tmp_path), "--decoder", "contrastive_decoding", f"amateur={other}"]
    assert "counterpoint: error: the vocabularies differ: token" in error(capsys, *arguments)


def test_banned_answers_are_counted_and_win_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    results = run(capsys, tmp_path, "--limit", "3", "--decoder", "contrastive_decoding", "alpha=1")
    assert results["banned_answers"] == results["answers"] > 0
    assert results["metrics"] == {"mc1": 0.0, "mc2": 0.0, "mc3": 0.0}
    assert all(score is None for record in records(tmp_path, results) for score in record["scores"].values())


def test_binary_choice(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    results = run(capsys, tmp_path, "--task", "binary", "--limit", "8", "--seed", "3")
    assert set(results["metrics"]) == {"binary"}
    assert all(set(record["scores"]) == {"A", "B"} for record in records(tmp_path, results))
    orders = [
        [options_of(question, seed)[0] == question.best for question in read_questions(SAMPLE).questions[:8]] for seed in (3, 3, 4)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert set(orders[0]) == {True, False}  # the best answer is now here, now there


def test_presets_are_named_and_hashed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    primer, instruction = tmp_path / "primer.txt", tmp_path / "instruction.txt"
    primer.write_text("Q: Who?\nA: Me.\n")
    instruction.write_text("Be literal.\n")
    original = run(capsys, tmp_path / "1", "--limit", "1", "--preset", "original", "--primer", str(primer))
    assert (original["preset"], original["prompt_files"][0]["sha256"]) == (
        "original",
        hashlib.sha256(primer.read_bytes()).hexdigest(),
    )
    question = read_questions(SAMPLE).questions[0]
    expected = reference(EXPERT, f"Q: Who?\nA: Me.\n\nQ: {question.text}\nA:", question.best)
    assert records(tmp_path / "1", original)[0]["scores"][question.best] == pytest.approx(expected, abs=1e-3)
    files = ["--primer", str(primer), "--instruction", str(instruction)]
    dola = run(capsys, tmp_path / "2", "--limit", "1", "--preset", "dola", *files)
    expected = reference(EXPERT, f"Be literal.\n\nQ: Who?\nA: Me.\n\nQ: {question.text}\nA:", question.best)
    assert records(tmp_path / "2", dola)[0]["scores"][question.best] == pytest.approx(expected, abs=1e-3)
    plain = run(capsys, tmp_path / "3", "--limit", "1", "--preset", "plain")
    expected = reference(EXPERT, f"Q: {question.text}\nA:", question.best)
    assert records(tmp_path / "3", plain)[0]["scores"][question.best] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--decoder", "contrastive_search"], "contrastive_search: the probability of a text is undefined under it"),
        (["--decoder", "nucleus"], "nucleus: the probability of a text is undefined"),
        (["--decoder", "dola", "layers=9"], r"layers=\[9\]: early exits of this model are 0"),
        (["--decoder", "dola", "layers=some"], "layers=some are not layers: give low or high, or numbers with '\\+'"),
        (["--decoder", "induce_then_contrast", "amateur_adapter=nowhere"], "amateur_adapter=nowhere is neither a local folder nor"),
        (["--decoder", "contrastive_decoding", "--model", str(AMATEUR)], "no amateur: give amateur=MODEL"),
        (["--preset", "original"], "--preset original needs --primer FILE or an installed lm-evaluation-harness"),
        (["--preset", "own", "--primer", "x"], "--preset own has no use for --primer"),
        (["--preset", "xyz"], "--preset xyz is unknown; known: own, original"),
        (["--file", "nowhere.csv"], "--file nowhere.csv: No such file"),
    ],
)
def test_errors(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr(qa_prompts, "find_spec", lambda name: None)
    capsys.readouterr()
    assert re.search(message, error(capsys, "--limit", "1", "--output-dir", str(tmp_path), *arguments))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{HEADER.replace('Best Answer,', '')}\n", "row 1: no column 'Best Answer' among 'Type'"),
        (f"{HEADER}\n".replace(",", ";"), "row 1: no column 'Question' .*; are the columns separated by commas"),
        ("", "row 1: no column 'Question' among none"),
        (f"{HEADER}\n", "no questions below the header"),
        (f"{HEADER}\n{ROW}\n{ROW}\n", "row 3, column 'Question': the same as in row 2"),
        (f"{HEADER}\n{ROW}\nA,B,Why not?\n", "row 3: 3 columns, the header has 7"),
        (f"{HEADER}\nA,B,,x,x,y,z\n", "row 2, column 'Question': empty"),
        (f"{HEADER}\nA,B,q, ,x,y,z\n", "row 2, column 'Best Answer': empty"),
        (f"{HEADER}\nA,B,q,x,;,y,z\n", "row 2, column 'Correct Answers': answer 1 of 1 is empty"),
        (f"{HEADER}\nA,B,q,x,x,y;;z,z\n", "row 2, column 'Incorrect Answers': answer 2 of 3 is empty"),
        (f"{HEADER}\nA,B,q,x,x|y,y,z\n", "row 2, column 'Correct Answers': a '|' in it; answers are separated by ';'"),
        (f'{HEADER}\nA,B,q,x,"x\ny",y,z\n', "row 2, column 'Correct Answers': a line break in it"),
        (f"{HEADER}\n{ROW}\nA,B,q,x,caf\udce9,y,z\n", "row 3, column 'Correct Answers': not UTF-8"),
    ],
)
def test_malformed_files(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "questions.csv"
    path.write_bytes(content.encode("utf-8", errors="surrogateescape"))
    with pytest.raises(ValueError, match=message.replace("|", r"\|")) as caught:
        read_questions(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_files_with_and_without_a_byte_order_mark(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "questions.csv"
    path.write_text(f"{mark}{HEADER}\n{ROW.replace('No reason', 'No reason.')}\n\n", encoding="utf-8")
    data = read_questions(path)
    assert data.questions == (Question("Why?", "Because.", ("Because.", "It is so."), ("No reason.", "Who knows.")),)
    assert data.version == "of unknown release"


def test_a_data_set_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"question": "Why?", "best_answer": "Because", "correct_answers": ["Because", "It is so"], "incorrect_answers": ["No"]}
    asked: list[tuple[Any, ...]] = []
    stand_in = types.ModuleType("datasets")
    stand_in.load_dataset = lambda *call, split: asked.append((*call, split)) or [row]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    data = find_questions("truthfulqa/truthful_qa")
    assert asked == [("truthfulqa/truthful_qa", "generation", "validation")]
    assert data.questions == (Question("Why?", "Because.", ("Because.", "It is so."), ("No.",)),)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match="a data set of the hub needs: pip install datasets"):
        find_questions("truthfulqa/truthful_qa")


def test_the_primer_of_an_installed_harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = tmp_path / "lm_eval" / "tasks" / "truthfulqa" / "truthfulqa_mc1.yaml"
    task.parent.mkdir(parents=True)
    (tmp_path / "lm_eval" / "__init__.py").touch()
    task.write_text("""doc_to_text: "{% set prompt_qa = 'Q: Who?\\n\\\n  A: Me.'%}{{prompt_qa + '\\n\\nQ: ' + question}}"\n""")
    spec = importlib.util.spec_from_file_location("lm_eval", tmp_path / "lm_eval" / "__init__.py")
    monkeypatch.setattr(qa_prompts, "find_spec", lambda name: spec)
    preset = qa_prompts.make_preset("original", None, None, chat_template=False)
    assert preset.before == "Q: Who?\nA: Me.\n\n"
    assert preset.files == ((str(task), hashlib.sha256(task.read_bytes()).hexdigest()),)


def test_the_primer_of_lm_evaluation_harness_is_the_benchmarks(shared: Path) -> None:
    pytest.importorskip("lm_eval")
    file = qa_prompts.make_preset("original", shared / "data" / "truthfulqa" / "primer.txt", None, chat_template=False)
    assert qa_prompts.make_preset("original", None, None, chat_template=False).before == file.before


@pytest.mark.filterwarnings("ignore")
def test_scores_are_those_of_lm_evaluation_harness(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, expert: Any, tokenizer: Any
) -> None:
    """Its likelihoods of the same prompts and answers, and its own mc1 and mc2 from them."""
    huggingface = pytest.importorskip("lm_eval.models.huggingface")
    instance = pytest.importorskip("lm_eval.api.instance")
    utils = pytest.importorskip("lm_eval.tasks.truthfulqa.utils")
    results = run(capsys, tmp_path, "--limit", "4")
    harness = huggingface.HFLM(pretrained=expert, tokenizer=tokenizer, batch_size=1)
    for record, question in zip(records(tmp_path, results), read_questions(SAMPLE).questions, strict=False):
        prompt = f"{OWN_PRIMER}\n\nQ: {question.text}\nA:"
        requests = [
            instance.Instance("loglikelihood", {}, (prompt, f" {answer}"), index) for index, answer in enumerate(record["scores"])
        ]
        found = harness.loglikelihood(requests, disable_tqdm=True)
        assert list(record["scores"].values()) == pytest.approx([score for score, _ in found], abs=1e-3)
        labels = [int(answer in question.true) for answer in record["scores"]]
        assert record["measures"]["mc2"] == pytest.approx(
            utils.process_results_mc2({"mc2_targets": {"labels": labels}}, found)["acc"], abs=1e-3
        )
        likeliest = max(range(len(found)), key=lambda index: found[index][0])
        others = [score for (score, _), label in zip(found, labels, strict=True) if not label]
        assert record["measures"]["mc1"] == float(found[0][0] > max(others))
        assert record["measures"]["mc3"] > 0 or not labels[likeliest]


def test_the_sample_is_sound() -> None:
    data = read_questions(SAMPLE)
    assert len(data.questions) >= 40
    for question in data.questions:
        assert question.best in question.true
        assert question.best_false in question.false
        assert not set(question.true) & set(question.false)


def test_the_benchmarks_own_file(shared: Path) -> None:
    data = read_questions(shared / "data" / "truthfulqa" / "TruthfulQA.csv")
    assert (len(data.questions), data.version) == (817, "TruthfulQA of 2021")
    assert sum(len(question.true) + len(question.false) for question in data.questions) == 6209
    assert all(question.best in question.true for question in data.questions)


def test_a_second_run_scores_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(capsys, tmp_path, "--limit", "3")
    monkeypatch.setattr(choice_task, "score_each", lambda *call, **options: iter(pytest.fail("scored again") for _ in call[2]))
    assert run(capsys, tmp_path, "--limit", "3") == first
    assert run(capsys, tmp_path, "--limit", "2")["questions"] == 2


def test_whatever_changes_is_scored_anew(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another model under the same path, data under the same name, a decoder, a parameter, a seed: nothing is reused."""
    model, data = tmp_path / "model", tmp_path / "data.csv"
    shutil.copytree(AMATEUR, model)
    data.write_text(f"{HEADER}\n{ROW}\n")
    scored: list[int] = []
    score_each = choice_task.score_each

    def counting(*call: Any, **options: Any) -> Any:
        scored.append(len(call[2]))
        return score_each(*call, **options)

    monkeypatch.setattr(choice_task, "score_each", counting)
    base = ["--model", str(model), "--file", str(data)]
    variants = [
        [],
        ["--decoder", "dola", "layers=0"],
        ["--decoder", "dola", "layers=0", "alpha=0.1"],
        ["--decoder", "dola", "layers=0", "alpha=0.1", "--no-renormalise"],
        ["--preset", "plain"],
        ["--decoder", "contrastive_decoding", f"amateur={AMATEUR}"],
        ["--decoder", "contrastive_decoding", f"amateur={model}"],
    ]
    for variant in variants:
        run(capsys, tmp_path / "out", *base, *variant)
    changed = AutoModelForCausalLM.from_pretrained(model)
    changed.get_input_embeddings().weight.data[7] += 1
    changed.save_pretrained(model)
    for variant in variants:
        run(capsys, tmp_path / "out", *base, *variant)
    data.write_text(f"{HEADER}\n{ROW.replace('It is so', 'It is not so')}\n")
    run(capsys, tmp_path / "out", *base)
    assert scored == [1] * (2 * len(variants) + 1)
    run(capsys, tmp_path / "out", *base)
    assert scored[-1] == 0


KILLED = """
import os, signal, sys
from counterpoint.eval.cli.main import main
from counterpoint.eval import journal
real, lines = os.fsync, []
def fsync(descriptor):
    real(descriptor)
    lines.append(descriptor)
    if len(lines) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
journal.os.fsync = fsync
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL on Windows")
def test_nothing_is_lost_or_doubled_by_kills(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    with SAMPLE.open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    with data.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([rows[0], *([*row[:2], f"{n}: {row[2]}", *row[3:]] for n in range(2) for row in rows[1:])])
    arguments = ["--model", str(AMATEUR), "--file", str(data), "--device", "cpu", "--dtype", "float32"]
    command = ["truthfulqa", *arguments, "--output-dir", str(tmp_path / "killed")]
    written = 0
    for questions in (3, 5):
        killed = subprocess.run([sys.executable, "-c", KILLED, str(questions), *command], capture_output=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        written += questions  # it went on where it was
        assert count_lines(tmp_path / "killed") == written
    assert written < 2 * (len(rows) - 1)
    results = run(capsys, tmp_path / "killed", *arguments)
    whole = run(capsys, tmp_path / "whole", *arguments)
    found, expected = records(tmp_path / "killed", results), records(tmp_path / "whole", whole)
    assert [record["question"] for record in found] == [record["question"] for record in expected]
    assert len({record["question"] for record in found}) == len(found) == 2 * (len(rows) - 1)
    assert results["metrics"] == pytest.approx(whole["metrics"])


def count_lines(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*.jsonl"))


def test_what_a_kill_left_of_a_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).add("a", {"value": 1})
    with path.open("ab") as file:
        file.write(b'{"key": "b", "val')
    journal = Journal(path)
    assert "a" in journal
    assert "b" not in journal
    journal.add("b", {"value": 2})
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "b"]
    assert Journal(path)["b"] == {"key": "b", "value": 2, "versions": releases()}


def test_penalties_of_the_model_itself_count(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """``--decoder greedy repetition_penalty=1.5`` is what scoring with that processor gives."""
    results = run(capsys, tmp_path, "--model", str(AMATEUR), "--limit", "1", "--decoder", "greedy", "repetition_penalty=1.5")
    (record,) = records(tmp_path, results)
    question = read_questions(SAMPLE).questions[0]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
    prompt = qa_prompts.make_preset("own", None, None, chat_template=False).text(question.text)
    answers = [[f" {answer}" for answer in question.answers()]]
    found, without = (
        [each.total for each in score(model.float(), tokenizer, [prompt], answers, decoder)[0]]
        for decoder in (RepetitionPenaltyLogitsProcessor(1.5), None)
    )
    assert list(record["scores"].values()) == pytest.approx(found, abs=1e-3)
    assert found != pytest.approx(without, abs=1e-1)
