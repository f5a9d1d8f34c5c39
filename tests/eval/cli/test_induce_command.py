"""``counterpoint induce``: its files and output, errors in one line, and a kill in the middle."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from counterpoint.eval import AMATEUR
from counterpoint.eval.cli.main import build_parser, main
from counterpoint.eval.training.wrong_answers import read_pairs, to_jsonl
from processes import run

NAMES = "whale ship sea captain boat sailor harpoon island storm wave".split()
ARGUMENTS = ["--model", str(AMATEUR), "--device", "cpu", "--batch-size", "4", "--learning-rate", "5e-3"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten questions of two wrong answers each."""
    path = tmp_path / "data.csv"
    rows = [f"What is the {name}?,The {name} is a kind of bread that sings; A {name} is a cat" for name in NAMES]
    path.write_text("\n".join(["Question,Incorrect Answers", *rows]), encoding="utf-8")
    return path


def command(data: Path, output: Path, *more: str) -> list[str]:
    """The arguments of a training."""
    return ["induce", "--file", str(data), "--output-dir", str(output), *ARGUMENTS, *more]


def failure(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """The message of a command that fails with ``code``."""
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("counterpoint: error: ")
    assert (captured.err.count("\n"), captured.out) == (1, "")
    return captured.err


def test_output_and_files(capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path) -> None:
    output = tmp_path / "made" / "adapter"
    assert main(command(data, output, "--held-out-share", "0.2", "--rank", "4", "--epochs", "2")) == 0
    captured = capsys.readouterr()
    assert captured.err == ""  # the bar is for terminals
    record = json.loads((output / "training.json").read_text(encoding="utf-8"))
    assert captured.out == (
        "16 pairs, 8 steps\nloss of held-out wrong answers, in nats a token: "
        f"{record['loss_before']:.3f} before, {record['loss_after']:.3f} after\n{output}\n"
    )
    assert record["loss_after"] < record["loss_before"]
    assert json.loads((output / "adapter_config.json").read_text(encoding="utf-8"))["r"] == 4
    held_out = read_pairs(output / "held_out.jsonl")
    assert len(held_out) == 4
    assert set(held_out) < set(read_pairs(data))
    card = (output / "README.md").read_text(encoding="utf-8")
    assert "16 question / wrong-answer pairs from data.csv" in card
    assert "Loss of the answers to 4 held-out pairs" in card
    assert main(command(data, output, "--held-out-share", "0.2", "--rank", "4", "--epochs", "2")) == 0
    assert capsys.readouterr().out == captured.out
    assert main(command(data, output, "--held-out-share", "0.2", "--rank", "4", "--epochs", "2", "--quiet")) == 0
    assert capsys.readouterr() == ("", "")
    assert main(command(data, output, "--held-out-share", "0.2", "--rank", "4", "--epochs", "2", "--json")) == 0
    assert json.loads(capsys.readouterr().out) == {
        **{"output_dir": str(output), "pairs": 16, "too_long": 0, "steps": 8},
        **{name: record[name] for name in ("loss_before", "loss_after")},
    }


def test_excluded_questions_and_a_limit(capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path) -> None:
    excluded = tmp_path / "excluded.jsonl"
    excluded.write_text(to_jsonl(read_pairs(data)[:10]), encoding="utf-8")  # five questions
    output = tmp_path / "adapter"
    arguments = ["--exclude", str(excluded), "--epochs", "1", "--limit", "5"]
    assert main(command(data, output, *arguments)) == 0
    assert capsys.readouterr().out.startswith("5 pairs, 2 steps\n")
    held_out = read_pairs(output / "held_out.jsonl")
    assert {pair.question for pair in held_out} <= {f"What is the {name}?" for name in NAMES[5:]}
    assert "--exclude" in failure(capsys, 1, *command(data, tmp_path / "other", "--exclude", str(data)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: --file, --output-dir"),
        (["--file", "x", "--output-dir", "y", "--rank", "0"], "'0' is not a whole number of 1 or more"),
        (["--file", "x", "--output-dir", "y", "--learning-rate", "0"], "'0' is not a number above 0"),
        (["--file", "x", "--output-dir", "y", "--learning-rate", "fast"], "'fast' is not a number above 0"),
        (["--file", "x", "--output-dir", "y", "--held-out-share", "1"], "'1' is not a share between 0 and 1"),
        (["--file", "x", "--output-dir", "y", "--epoch", "1"], "unknown option --epoch (did you mean --epochs?)"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert message in failure(capsys, 2, "induce", *arguments)


def test_failures(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "adapter"
    assert "No such file" in failure(capsys, 1, *command(tmp_path / "absent", output))
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    assert "has the fields a, b, which are of no known shape" in failure(capsys, 1, *command(other, output))
    assert "the tokenizer has no chat template" in failure(capsys, 1, *command(data, output, "--chat-template"))
    assert "at most max_length=3 tokens" in failure(capsys, 1, *command(data, output, "--max-length", "3"))
    assert "not found in the base model" in failure(capsys, 1, *command(data, output, "--targets", "no_such_layer"))
    assert "is neither a local folder" in failure(capsys, 1, *command(data, output, "--model", "./absent"))
    assert main(command(data, output, "--epochs", "1")) == 0
    capsys.readouterr()
    assert "was begun with epochs=1, now it is 2" in failure(capsys, 1, *command(data, output, "--epochs", "2"))
    monkeypatch.setitem(sys.modules, "peft", None)
    assert "not installed: pip install counterpoint[adapters]" in failure(capsys, 1, *command(data, output))


def test_help_comes_without_torch() -> None:
    program = (
        "import sys\nfrom counterpoint.eval.cli.main import main\n"
        "try:\n    main(['induce', '--help'])\n"
        "except SystemExit:\n    print(sorted({'torch', 'transformers', 'numpy', 'peft'} & set(sys.modules)))\n"
    )
    printed = run("-c", program)
    assert printed.endswith("\n[]\n")
    options = (
        "--model --file --output-dir --exclude --held-out-share --limit --max-length --chat-template --rank --lora-alpha --targets"
    )
    options += " --learning-rate --epochs --batch-size --micro-batch-size --seed --device --dtype --trust-remote-code --debug"
    options += " --json --quiet hallucinated_answer"
    assert [word for word in options.split() if word not in printed] == []


def test_defaults_are_those_of_the_function() -> None:
    from counterpoint.eval.training.induction import Settings

    arguments = build_parser().parse_args(["induce", "--file", "x", "--output-dir", "y"])
    for name, value in vars(Settings()).items():
        found = getattr(arguments, name)
        assert (tuple(found) if isinstance(found, list) else found) == value


KILLED = """
import os, signal, sys
from counterpoint.eval.cli.main import main
from counterpoint.eval.training import induction
save = induction.save
def save_and_die(path, step, *state):
    save(path, step, *state)
    if step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
induction.CHECKPOINT_SECONDS, induction.save = 0, save_and_die
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
def test_the_same_command_goes_on_after_a_kill(capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path) -> None:
    more = ["--epochs", "6"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    checkpoint = killed / "checkpoint.pt"
    process = subprocess.run([sys.executable, "-c", KILLED, *command(data, killed, *more)], capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert process.stdout == b""
    assert torch.load(checkpoint, weights_only=True)["step"] == 7
    for output in (killed, whole):
        assert main(command(data, output, *more)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == lines[3:5]
    one, other = (load_file(output / "adapter_model.safetensors") for output in (killed, whole))
    assert all(torch.allclose(one[name], other[name], rtol=1e-3, atol=1e-5) for name in other)  # another process
    assert not checkpoint.exists()
