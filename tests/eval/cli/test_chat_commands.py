"""Chats in the commands beside ``generate``: score, rerank, truthfulqa, factor, bench, induce; and in ``compare()``."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from chats import CHATML, THINKING, chat_model, chat_tokenizer, jsonl
from counterpoint.decoders import score
from counterpoint.eval import AMATEUR, compare
from counterpoint.eval.cli.main import main
from counterpoint.eval.questions.truthfulqa import SAMPLE, read_questions

QUESTION = "Who saw the white whale?"
USER = {"role": "user", "content": QUESTION}
ANSWERS = ["The captain.", "A cheese."]
ON_CPU = ["--device", "cpu", "--dtype", "float32"]
SHA256 = hashlib.sha256(CHATML.encode()).hexdigest()
NOTE = "has a chat template, and is used without it"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The amateur with a template."""
    return chat_model(tmp_path_factory.mktemp("chat") / "model", CHATML)


def documents(capsys: pytest.CaptureFixture[str], *arguments: str, error: str = "") -> list[dict[str, Any]]:
    """The JSON objects of a command that succeeds, and says what is expected on standard error."""
    assert main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert (error in captured.err) if error else captured.err == ""
    return [json.loads(line) for line in captured.out.splitlines()]


def totals(answers: list[str], **options: Any) -> list[float]:
    """What the amateur makes of answers in the assistant's turn, by ids of transformers' own rendering."""
    tokenizer, amateur = chat_tokenizer(CHATML), AutoModelForCausalLM.from_pretrained(AMATEUR).float()
    text = tokenizer.apply_chat_template([USER], tokenize=False, add_generation_prompt=True)
    prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
    rows = [tokenizer(text + answer, add_special_tokens=False)["input_ids"] for answer in answers]
    assert all(row[: len(prompt)] == prompt for row in rows)
    (found,) = score(amateur, None, [prompt], [[row[len(prompt) :] for row in rows]], **options)
    return [each.total for each in found]


def test_score(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = jsonl(tmp_path / "texts.jsonl", {"prompt": QUESTION, "candidates": ANSWERS})
    chats = jsonl(tmp_path / "chats.jsonl", {"messages": [USER], "candidates": ANSWERS})
    expected = totals(ANSWERS)
    capsys.readouterr()
    for file, more in ((texts, ["--chat-template", "auto"]), (chats, [])):
        (found,) = documents(capsys, "score", file, "--model", model, *ON_CPU, *more)
        assert found["log_probabilities"] == pytest.approx(expected, abs=1e-3)
        assert found["chat_template"]["sha256"] == SHA256
    (plain,) = documents(capsys, "score", texts, "--model", model, *ON_CPU, error=NOTE)
    assert plain["log_probabilities"] != pytest.approx(expected, abs=1e-2)
    thought = jsonl(
        tmp_path / "thought.jsonl", {"messages": [USER], "candidates": [f"<think>Who?</think>\n\n{each}" for each in ANSWERS]}
    )
    (cut,) = documents(capsys, "score", thought, "--model", model, *ON_CPU, "--thinking", "cut")
    assert cut["log_probabilities"] == pytest.approx(expected, abs=1e-3)
    assert cut["thinking"] == "cut"


def test_rerank(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = totals(ANSWERS)
    capsys.readouterr()
    for row in ({"prompt": QUESTION}, {"messages": [USER]}):
        file = jsonl(tmp_path / "rows.jsonl", {**row, "candidates": ANSWERS})
        command = ["rerank", "--file", file, "--model", model, *ON_CPU, "--ranker"]
        (found,) = documents(capsys, *command, "likelihood", "form=log_likelihood")
        assert found["scores"] == pytest.approx(sorted(expected, reverse=True), abs=1e-3)
        assert found["chat_template"]["sha256"] == SHA256
        (words,) = documents(capsys, *command, "overlap")
        assert "chat_template" not in words
        assert "text" not in words
        assert main([*command, "overlap", "--system", "Be brief."]) == 2
        assert "--system is said to a chat template" in capsys.readouterr().err
    file = jsonl(tmp_path / "texts.jsonl", {"prompt": QUESTION, "candidates": ANSWERS})
    command = ["rerank", "--file", file, "--model", model, *ON_CPU, "--chat-template", "none"]
    (none,) = documents(capsys, *command, "--ranker", "likelihood", "form=log_likelihood", error=NOTE)
    assert none["scores"] != pytest.approx(sorted(expected, reverse=True), abs=1e-2)


def test_a_ranker_reads_the_chat_and_not_its_words(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    choice = "best_of:ranker=[likelihood:form=log_likelihood],candidates=3"
    command = ["generate", QUESTION, "--model", model, *ON_CPU, "--max-new-tokens", "6", "--decoder", choice]
    (found,) = documents(capsys, *command)
    expected = totals([text for text in found["candidates"] if text.strip()])
    assert [value for value in found["scores"] if value is not None] == pytest.approx(sorted(expected, reverse=True), abs=2e-2)


def test_truthfulqa_by_preset(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["truthfulqa", "--limit", "1", "--model", model, *ON_CPU, "--output-dir"]
    question = read_questions(SAMPLE).questions[0]
    tokenizer, amateur = chat_tokenizer(CHATML), AutoModelForCausalLM.from_pretrained(AMATEUR).float()
    text = tokenizer.apply_chat_template([{"role": "user", "content": question.text}], tokenize=False, add_generation_prompt=True)
    (expected,) = score(amateur, tokenizer, [text], [question.answers()])
    capsys.readouterr()
    (plain,) = documents(capsys, *command, str(tmp_path / "plain"), "--preset", "plain")
    (record,) = [json.loads(line) for line in (tmp_path / "plain" / plain["question_results"]).read_text().splitlines()]
    assert list(record["scores"].values()) == pytest.approx([each.total for each in expected], abs=1e-3)
    assert plain["chat_template"]["sha256"] == SHA256
    (own,) = documents(capsys, *command, str(tmp_path / "own"), error=NOTE)
    assert own["chat_template"] is False
    (bare,) = documents(capsys, *command, str(tmp_path / "bare"), "--chat-template", "--system", "Be brief.")
    assert (bare["chat_template"]["sha256"], bare["system"]) == (SHA256, "Be brief.")
    assert len({each["question_results"] for each in (plain, own, bare)}) == 3
    assert main([*command, str(tmp_path), "--thinking", "cut"]) == 2
    assert "add --task generation" in capsys.readouterr().err


def test_bench(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = jsonl(tmp_path / "rows.jsonl", *({"messages": [{"role": "user", "content": text}]} for text in (QUESTION, "Why?")))
    command = ["bench", "--file", file, "--model", model, "--device", "cpu", "--max-new-tokens", "6", "--metrics", "diversity"]
    command += ["--decoders", "greedy", "nucleus", "--output-dir", str(tmp_path / "bench"), "--quiet"]
    assert main(command) == 0
    assert capsys.readouterr().err == ""
    assert (
        main(
            [
                "generate",
                "--file",
                file,
                "--model",
                model,
                "--device",
                "cpu",
                "--max-new-tokens",
                "6",
                "--decoder",
                "greedy",
                "--json",
            ]
        )
        == 0
    )
    alone = [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]
    texts = [json.loads(line) for line in (tmp_path / "bench" / "generations.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [each["text"] for each in sorted(texts, key=lambda each: each["index"]) if each["decoder"] == "greedy"] == alone
    run = json.loads((tmp_path / "bench" / "results.json").read_text(encoding="utf-8"))["config"]["run"]
    assert (run["chat_template"]["sha256"], run["thinking"]) == (SHA256, "keep")
    assert main([*command, "--system", "Be brief."]) == 1
    assert "which do not go with those of system=Be brief." in capsys.readouterr().err
    assert main([*command, "--prompt-tokens", "3"]) == 1
    assert "--prompt-tokens 3 cuts texts, and a chat cannot be cut" in capsys.readouterr().err


def test_compare(amateur: Any) -> None:
    tokenizer = chat_tokenizer(THINKING)
    inputs = tokenizer.apply_chat_template(
        [USER], add_generation_prompt=True, return_tensors="pt", return_dict=True, enable_thinking=False
    )
    ids = amateur.generate(**inputs, do_sample=False, max_new_tokens=8)
    expected = tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    for prompt, more in ((QUESTION, {"chat_template": "auto"}), ([USER], {})):
        found = compare(amateur, tokenizer, [prompt], ["greedy"], max_new_tokens=8, thinking="off", **more)
        assert found.texts == ((expected,),)
        assert found.prompts == (QUESTION,)
