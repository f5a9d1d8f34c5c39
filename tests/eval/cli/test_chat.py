"""Chats in ``counterpoint generate``: what goes through a template, what is said of it, batches, files that are completed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from chats import CHATML, NO_SYSTEM, TEMPLATES, THINKING, WITH_BOS, chat_model, chat_tokenizer, jsonl
from counterpoint.decoders import decoder
from counterpoint.eval import AMATEUR
from counterpoint.eval.cli.main import main

QUESTION = "Who saw the white whale?"
SMALL = ["--device", "cpu", "--max-new-tokens", "12", "--decoder", "greedy"]
SYSTEM = {"role": "system", "content": "Answer as a sailor."}
USER = {"role": "user", "content": QUESTION}


def run(capsys: pytest.CaptureFixture[str], *arguments: str, error: str = "") -> str:
    """Standard output of a command that succeeds, and says what is expected on standard error."""
    assert main(["generate", *arguments]) == 0
    captured = capsys.readouterr()
    assert (error in captured.err) if error else captured.err == ""
    return captured.out


def records(output: str) -> list[dict[str, Any]]:
    """The JSON objects of an output."""
    return [json.loads(line) for line in output.splitlines()]


def after(tokenizer: Any, messages: list[dict[str, str]], **options: Any) -> str:
    """What the amateur says greedily after transformers' own encoding of a chat."""
    model: Any = AutoModelForCausalLM.from_pretrained(AMATEUR)
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True, **options)
    ids = model.generate(**inputs, do_sample=False, max_new_tokens=12)
    return str(tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_text_is_the_users_message(name: str, adds_bos: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = chat_model(tmp_path / "model", TEMPLATES[name], adds_bos=adds_bos)
    tokenizer = chat_tokenizer(TEMPLATES[name], adds_bos=adds_bos)
    content: Any = [{"type": "text", "text": QUESTION}] if name == "parts_alone" else QUESTION
    expected = after(tokenizer, [{"role": "user", "content": content}])
    capsys.readouterr()
    (record,) = records(run(capsys, QUESTION, "--model", model, "--json", *SMALL))
    assert record["text"].strip() == expected.strip()
    assert record["prompt"] == QUESTION
    sha256 = hashlib.sha256(TEMPLATES[name].encode()).hexdigest()
    assert record["chat_template"] == {"source": f"the tokenizer of {model}", "sha256": sha256}
    assert (record["system"], record["thinking"]) == ("", "keep")


def test_messages_system_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, tokenizer = chat_model(tmp_path / "model", None), chat_tokenizer(CHATML)
    (tmp_path / "chatml.jinja").write_text(CHATML, encoding="utf-8")
    template = ["--chat-template", str(tmp_path / "chatml.jinja")]
    rows = jsonl(tmp_path / "rows.jsonl", {"messages": [SYSTEM, USER]}, {"prompt": QUESTION})
    expected = [after(tokenizer, [SYSTEM, USER]), after(tokenizer, [USER])]
    capsys.readouterr()
    found = records(run(capsys, "--file", rows, "--model", model, "--json", *template, *SMALL))
    assert [record["text"] for record in found] == expected
    assert found[0]["messages"] == [SYSTEM, USER]
    assert found[0]["chat_template"]["source"] == str(tmp_path / "chatml.jinja")
    (told,) = records(run(capsys, QUESTION, "--system", SYSTEM["content"], "--model", model, "--json", *template, *SMALL))
    assert told["text"] == expected[0]
    assert told["system"] == SYSTEM["content"]


def test_messages_go_through_the_template_even_where_texts_do_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = chat_model(tmp_path / "model", CHATML)
    rows = jsonl(tmp_path / "rows.jsonl", {"messages": [USER]}, {"prompt": QUESTION})
    expected = after(chat_tokenizer(CHATML), [USER])
    capsys.readouterr()
    chat, text = records(
        run(capsys, "--file", rows, "--model", model, "--json", "--chat-template", "none", *SMALL, error="has a chat template")
    )
    (plain,) = records(run(capsys, QUESTION, "--json", *SMALL, "--model", str(AMATEUR)))
    assert chat["text"] == expected
    assert text["text"] == plain["text"] != expected
    assert "chat_template" not in plain


def test_a_last_message_of_the_assistant_is_continued(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, tokenizer = chat_model(tmp_path / "model", CHATML), chat_tokenizer(CHATML)
    rows = jsonl(tmp_path / "rows.jsonl", {"messages": [USER, {"role": "assistant", "content": "It was"}]})
    amateur: Any = AutoModelForCausalLM.from_pretrained(AMATEUR)
    text = tokenizer.apply_chat_template([USER], tokenize=False, add_generation_prompt=True) + "It was"
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    ids = amateur.generate(**inputs, do_sample=False, max_new_tokens=12)
    capsys.readouterr()
    (record,) = records(run(capsys, "--file", rows, "--model", model, "--json", *SMALL))
    assert record["text"] == tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def test_people_see_the_question_and_the_answer_below(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = chat_model(tmp_path / "model", CHATML)
    expected = after(chat_tokenizer(CHATML), [USER])
    capsys.readouterr()
    assert run(capsys, QUESTION, "--model", model, *SMALL) == f"{QUESTION}\n\n{expected}\n"


def test_all_empty_texts_are_a_warning_with_the_likely_cause(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for template, told, cause in ((CHATML, "none", "take --chat-template auto"), (None, "auto", "give it their template")):
        command = [QUESTION, "--model", chat_model(tmp_path / told, template), "--json", "--chat-template", told, *SMALL]
        (record,) = records(run(capsys, *command, error="" if template is None else "note: "))
        run(capsys, *command, "--stop", record["text"][0], error="warning: the text is empty: ")
        assert main(["generate", *command, "--stop", record["text"][0]]) == 0
        assert cause in capsys.readouterr().err


@pytest.mark.parametrize("batch_size", ["1", "2", "5"])
def test_batches_are_the_texts_one_at_a_time(batch_size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = chat_model(tmp_path / "model", CHATML)
    rows = jsonl(tmp_path / "rows.jsonl", *({"prompt": text} for text in ("The whale", "It was late.", QUESTION)))
    command = ["--file", rows, "--model", model, "--json", "--device", "cpu", "--max-new-tokens", "12"]
    alone = records(run(capsys, *command, "--decoder", "greedy"))
    batch = records(run(capsys, *command, "--decoder", "greedy", "--batch-size", batch_size))
    assert [record["text"] for record in batch] == [record["text"] for record in alone]
    drawn = records(run(capsys, *command, "--decoder", "nucleus", "-n", "2", "--batch-size", batch_size))
    again = records(run(capsys, *command, "--decoder", "nucleus", "-n", "2", "--batch-size", "3"))
    assert [record["text"] for record in drawn] == [record["text"] for record in again]
    assert [record["seed"] for record in drawn] == [0, 1] * 3
    assert drawn[0]["text"] != drawn[1]["text"]


def test_texts_of_a_prompt_are_those_of_their_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    command = [QUESTION, "--model", str(AMATEUR), "--json", "--device", "cpu", "--max-new-tokens", "12", "--decoder", "nucleus"]
    several = records(run(capsys, *command, "-n", "3", "--seed", "4"))
    for record, seed in zip(several, (4, 5, 6), strict=True):
        (alone,) = records(run(capsys, *command, "--seed", str(seed)))
        assert alone["text"] == record["text"]


@pytest.mark.parametrize("decoder", ["greedy", "contrastive_search", "beam"])
def test_texts_end_before_stop_strings(decoder: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = [QUESTION, "--model", str(AMATEUR), "--device", "cpu", "--max-new-tokens", "30", "--decoder", decoder]
    (whole,) = records(run(capsys, *command, "--json"))
    stop = whole["text"].split()[2][:3]
    cut = whole["text"].index(stop)
    (stopped,) = records(run(capsys, *command, "--json", "--stop", "zzz", "--stop", stop))
    if decoder != "beam":  # whose other beams may win where one of them is cut
        assert stopped["text"] == whole["text"][:cut]
        assert stopped["tokens"] < whole["tokens"]
        assert run(capsys, *command, "--stop", stop) == QUESTION + whole["text"][:cut] + "\n"
    assert stop not in stopped["text"]
    assert stopped["stop"] == ["zzz", stop]


def test_an_output_file_is_completed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = chat_model(tmp_path / "model", CHATML)
    rows = jsonl(tmp_path / "rows.jsonl", *({"prompt": text} for text in ("The whale", "It was late.", QUESTION)))
    output = tmp_path / "texts.jsonl"
    options = ["--device", "cpu", "--max-new-tokens", "8", "--batch-size", "2", "--decoder", "nucleus", "-n", "2"]
    command = ["generate", "--file", rows, "--model", model, *options, "--output", str(output)]
    assert main(command) == 0
    whole = output.read_bytes()
    assert [json.loads(line)["prompt"] for line in whole.splitlines()] == [
        text for text in ("The whale", "It was late.", QUESTION) for _ in range(2)
    ]
    for size in (0, 3, len(whole) // 2, len(whole) - 1, len(whole)):  # wherever a kill cut it off
        output.write_bytes(whole[:size])
        assert main(command) == 0
        found = [json.loads(line) for line in output.read_bytes().splitlines()]
        expected = [json.loads(line) for line in whole.splitlines()]
        assert [(each["key"], each["text"]) for each in found] == [(each["key"], each["text"]) for each in expected]
    capsys.readouterr()
    for changed in (
        ["--max-new-tokens", "9"],
        ["--system", "Be brief."],
        ["--seed", "5"],
        ["--decoder", "sample"],
        ["--stop", "x"],
    ):
        assert main([*command, *changed]) == 1
        assert "a text of another command" in capsys.readouterr().err
        assert output.read_bytes() == whole
    for content in (b"my notes", b"my notes\n", b'{"key": 1}\n'):
        output.write_bytes(content)
        assert main(command) == 1
        assert "no text of `counterpoint generate`" in capsys.readouterr().err
        assert output.read_bytes() == content


def test_thinking_is_switched_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = chat_model(tmp_path / "model", THINKING)
    expected = after(chat_tokenizer(THINKING), [USER], enable_thinking=False)
    capsys.readouterr()
    (record,) = records(run(capsys, QUESTION, "--model", model, "--json", "--thinking", "off", *SMALL))
    assert (record["text"].strip(), record["thinking"]) == (expected.strip(), "off")


def test_context_and_guide_stand_in_messages(amateur: Any) -> None:
    tokenizer = chat_tokenizer(CHATML)
    context, question = "The captain was a woman.", "Who was the captain?"
    chat = [{"role": "system", "content": context}, {"role": "user", "content": question}]
    together = [{"role": "user", "content": f"{context}\n\n{question}"}]
    bare = tokenizer.apply_chat_template(chat[1:], add_generation_prompt=True)["input_ids"]
    for prompt, message in ((chat, "system"), (together, "user")):
        (processor,) = decoder("context_aware", amateur, tokenizer, prompts=[prompt], message=message)["logits_processor"]
        assert processor.amateur.prompt.tolist() == [bare]
    both = tokenizer.apply_chat_template([{"role": "system", "content": f"{context}\n\nLie."}, chat[1]], add_generation_prompt=True)
    first = tokenizer.apply_chat_template([chat[0], {"role": "user", "content": f"Lie.\n\n{question}"}], add_generation_prompt=True)
    for message, expected in (("system", both), ("user", first), ("", first)):
        arguments = decoder(
            "layer_fusion", amateur, tokenizer, amateur=amateur, prompts=[chat], guide="Lie.", refocus_weight=1.0, message=message
        )
        assert arguments["logits_processor"][0].guide.prompt.tolist() == [expected["input_ids"]]
    for prompt, message, error in (
        (question, "system", "the prompts are texts"),
        (chat[1:], "system", "no system message"),
        (chat[1:], "user", "no context in the user's last message"),
        (chat, "assistant", "message=assistant is not one of user, system"),
    ):
        with pytest.raises(ValueError, match=error):
            decoder("context_aware", amateur, tokenizer, prompts=[prompt], message=message)


@pytest.mark.parametrize(
    ("template", "arguments", "message"),
    [
        (None, ["--system", "x"], "--system 'x' is a message of a chat, and"),
        (None, ["--file", "CHAT"], "has no chat template: give one by --chat-template FILE"),
        (None, ["--chat-template", "absent.jinja"], "--chat-template absent.jinja is neither auto, own, none nor a file"),
        (CHATML, ["--chat-template", "none", "--system", "x"], "--chat-template none makes none"),
        (CHATML, ["--system", "x", "--file", "SYSTEM"], "a prompt has a system message of its own"),
        (CHATML, ["--thinking", "off"], "has no enable_thinking or thinking to switch; take --thinking cut"),
        (None, ["--thinking", "off"], "--thinking off is said to a chat template, and none is used"),
        (NO_SYSTEM, ["--system", "x"], "System role not supported"),
        (CHATML, ["-n", "2"], "-n 2: greedy has one text for a prompt"),
        (CHATML, ["--stop", ""], "--stop is empty"),
        (WITH_BOS, ["--file", "PICTURE"], "reads text alone"),
        (CHATML, ["--file", "LOST"], "there is no image absent.png"),
        (CHATML, ["--file", "WRONG"], '"messages" is a list of'),
    ],
)
def test_what_cannot_be_is_refused(
    template: str | None, arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "picture.png").write_bytes(b"")
    image = {"type": "image", "path": str(tmp_path / "picture.png")}
    files = {
        "CHAT": [USER],
        "SYSTEM": [SYSTEM, USER],
        "PICTURE": [{"role": "user", "content": [image, {"type": "text", "text": "What is it?"}]}],
        "LOST": [{"role": "user", "content": [{"type": "image", "path": "absent.png"}]}],
        "WRONG": [{"role": "user", "content": 3}],
    }
    words = [jsonl(tmp_path / "rows.jsonl", {"messages": files[word]}) if word in files else word for word in arguments]
    prompt = [] if "--file" in arguments else [QUESTION]
    assert main(["generate", *prompt, "--model", chat_model(tmp_path / "model", template), *SMALL, *words]) != 0
    assert message in capsys.readouterr().err
