"""Every failure is one line on standard error that says the way out, and an exit code."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from counterpoint.eval import AMATEUR
from counterpoint.eval.cli.main import build_parser, main
from counterpoint.eval.generation import encode
from counterpoint.eval.loading import choose_device, load

SMALL = ["--model", str(AMATEUR), "--device", "cpu"]
OPTIONS = ["--file", "--decoder", "--compare", "--model", "--max-new-tokens", "--seed", "--device", "--dtype", "--json"]


def failure(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """The message of a command that fails with ``code``."""
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("counterpoint: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["generat"], "invalid choice: 'generat' (did you mean generate?)"),
        (["generate", "x", "--decoder", "nuclues"], "did you mean nucleus?"),
        (["generate", "x", "--decoder", "contrastive_search", "top_k=0"], "top_k=0 is not a whole number of 1 or more"),
        (["generate", "x", "--decoder", "nucleus", "p=1"], "it takes: top_p, top_k, temperature"),
        (["generate", "--decoder", "greedy", "Once"], "a prompt goes before"),
        (["generate", "x", "--compare", "greedy", "top_k:k=3"], "decoder top_k has no 'k'"),
        (["generate", "x", "--compare", "greedy", "--decoder", "greedy"], "not allowed with argument --compare"),
        (["generate", "x", "--file", "y"], "not allowed with argument"),
        (["generate", "x", "--max-new-tokens", "0"], "'0' is not a whole number of 1 or more"),
        (["generate", "x", "--seed", "1.5"], "'1.5' is not a whole number of 0 or more"),
        (["generate", "x", "--dtype", "int8"], "invalid choice: 'int8'"),
        (["generate", "x", "--js"], "unknown option --js (did you mean --json?)"),
        (["export"], "required: DIR"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert message in failure(capsys, 2, *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([" "], "the prompt is empty"),
        (["--file", "absent"], "--file absent: "),
        (["x", "--max-new-tokens", "600"], "a prompt of 1 tokens and --max-new-tokens 600 exceed the model's context of 512"),
        (["x " * 600, "--max-new-tokens", "1"], "shorten the prompt"),
        (["x", "--model", "./absent"], "neither a local folder nor a name on the Hugging Face hub"),
        (["x", "--model", str(Path(__file__).parent)], "the folder has no config.json"),
        (["x", "--decoder", "dola", "layers=50"], "layers=[50]: early exits of this model are"),
    ],
)
def test_failures(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert message in failure(capsys, 1, "generate", *SMALL, *arguments)


COMMANDS_ON_A_DEVICE = {
    "generate": ["x"],
    "explain": ["x"],
    "score": ["absent.jsonl"],
    "rerank": ["--file", "absent.jsonl", "--ranker", "overlap"],
    "serve": [],
    "bench": ["--file", "absent.txt"],
    "bench run": ["--file", "absent.txt"],
    "bench score": ["absent"],
    "truthfulqa": ["--file", "absent.csv"],
    "factor": ["--file", "absent.csv"],
    "induce": ["--file", "absent.jsonl", "--output-dir", "absent"],
    "retrieval-heads": ["--output", "absent.json"],
    "train-ranker": ["--file", "absent.txt", "--output-dir", "absent", "--model", "absent"],
}


@pytest.mark.parametrize("command", COMMANDS_ON_A_DEVICE)
@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("banana", "--device banana is not a device; this machine has cpu"),
        ("cuda:99", "--device cuda:99 is not available to this installation of torch; it has cpu"),
        ("cpu:1", "--device cpu:1 is not available"),
        ("", "is not a device"),
    ],
)
def test_a_device_that_is_not_there_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], command: str, device: str, message: str
) -> None:
    assert message in failure(capsys, 2, *command.split(), *COMMANDS_ON_A_DEVICE[command], "--device", device)


def test_every_command_with_a_device_is_held() -> None:
    def those_of(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
        if any("--device" in action.option_strings for action in parser._actions):
            yield name.strip()
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for word, inner in action.choices.items():
                    yield from those_of(inner, f"{name} {word}")

    assert set(those_of(build_parser(), "")) == set(COMMANDS_ON_A_DEVICE)


def test_an_unreachable_hub_is_reported_at_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    error = failure(capsys, 1, "generate", "x", "--model", "no-such-owner/no-such-model")
    assert "neither a local folder nor reachable on the Hugging Face hub" in error
    assert "`hf download no-such-owner/no-such-model`" in error
    assert "omit --model" in error


def test_a_missing_embedded_model_is_no_hub_repository(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("counterpoint.eval.loading.EXPERT", tmp_path / "absent")
    assert "install counterpoint again" in failure(capsys, 1, "generate", "x", "--model", str(tmp_path / "absent"))


def copy_of_amateur(folder: Path, **changes: object) -> Path:
    """The amateur's files with another config."""
    for file in AMATEUR.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((AMATEUR / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")
    return folder


def test_a_checkpoint_without_all_weights_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    error = failure(capsys, 1, "generate", "x", "--model", str(copy_of_amateur(tmp_path, num_hidden_layers=9)))
    assert "the checkpoint lacks" in error
    assert "of the model's weights, model.layers." in error


def test_other_kinds_of_models_are_refused_in_few_words(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    error = failure(capsys, 1, "generate", "x", "--model", str(copy_of_amateur(tmp_path, model_type="t5")))
    assert "T5Config" in error
    assert len(error) < 600


def test_a_models_code_runs_only_if_trusted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    (tmp_path / "model").mkdir()
    model = copy_of_amateur(
        tmp_path / "model",
        model_type="counterpoint_test",
        auto_map={"AutoConfig": "own_code.OwnConfig", "AutoModelForCausalLM": "own_code.OwnModel"},
    )
    (model / "own_code.py").write_text(
        "from pathlib import Path\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        f"Path({str(tmp_path / 'ran')!r}).touch()\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'counterpoint_test'\n"
        "class OwnModel(LlamaForCausalLM):\n    config_class = OwnConfig\n",
        encoding="utf-8",
    )
    arguments = ["generate", "x", "--model", str(model), "--max-new-tokens", "2", "--decoder", "greedy"]
    assert "--trust-remote-code" in failure(capsys, 1, *arguments)
    assert not (tmp_path / "ran").exists()
    assert main([*arguments, "--trust-remote-code"]) == 0
    assert (tmp_path / "ran").exists()


def test_the_context_may_be_filled_to_the_last_token() -> None:
    loaded = load(str(AMATEUR), "cpu", "auto", trust_remote_code=False)
    ids = encode(loaded, "The whale", 1)
    assert encode(loaded, "The whale", 512 - len(ids)) == ids
    with pytest.raises(ValueError, match=f"take max_new_tokens={512 - len(ids)} or a shorter prompt"):
        encode(loaded, "The whale", 513 - len(ids))


def test_the_default_device_is_the_accelerator_if_there_is_one() -> None:
    assert choose_device(None) == (torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu"))
    assert choose_device("cpu") == torch.device("cpu")


def test_unexpected_errors_show_their_traceback_on_demand(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("counterpoint.eval.generation.encode", broken)
    assert "ZeroDivisionError: a defect (--debug shows where)" in failure(capsys, 1, "generate", "x", *SMALL)
    assert main(["generate", "x", *SMALL, "--debug"]) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "in broken" in error


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (
        (["--help"], ["generate", "export", "--version"]),
        (["generate", "--help"], [*OPTIONS, "--trust-remote-code", "--debug", "PROMPT", "penalty_alpha=0.6 top_k=5"]),
        (["export", "--help"], ["DIR", "--decoder", "--force"]),
    ):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
        output = capsys.readouterr().out
        assert [word for word in expected if word not in output] == []
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("counterpoint ")


def test_defaults() -> None:
    arguments = build_parser().parse_args(["generate"])
    assert (arguments.max_new_tokens, arguments.seed, arguments.dtype, arguments.device) == (200, 0, "auto", None)
    assert Path(arguments.model).parts[-3:] == ("eval", "models", "expert")
    assert not arguments.trust_remote_code
