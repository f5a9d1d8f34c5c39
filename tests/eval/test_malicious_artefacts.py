"""Models, adapters, rankers, option files and folders of results that would run code: refused in a line, and nothing has run."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import malicious
import sentence_models
from bench_cases import write_run
from counterpoint.eval import AMATEUR
from counterpoint.eval.bench.metric_models import MetricModels
from counterpoint.eval.building import load_amateur
from counterpoint.eval.cli.main import main
from counterpoint.eval.loading import load, quiet
from counterpoint.eval.metrics.mauve_features import load_featurizer
from counterpoint.rankers import CrossEncoderRanker, RankGenRanker, SentenceTransformerRanker
from counterpoint.rankers.training import trainable_encoders

RUN = "comes with its own code; read it, then let it run by trust_remote_code=True"
CONVERT = r"is not read, since reading it would run code; convert it where you trust it: save_pretrained\(\)"
MESSAGES = {"own model": RUN, "own tokenizer": RUN, "pickle": CONVERT, "plain pickle": CONVERT, "bomb": CONVERT}
DAMAGED = "has damaged weights, fetch or write them again"


@pytest.fixture(autouse=True)
def nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question on standard input is a failure."""

    def asked(question: str = "") -> str:
        raise AssertionError(f"asked: {question}")

    monkeypatch.setattr(builtins, "input", asked)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What appears if code runs."""
    return tmp_path / "it ran"


LOADERS: dict[str, Callable[[str], Any]] = {
    "model": lambda name: load(name, "cpu", "auto", False),
    "featurizer": load_featurizer,
    "embedder": lambda name: MetricModels(Path(), embedder=name, device="cpu").embed,
}
RANKERS: dict[str, Callable[[str], Any]] = {
    "ranker": RankGenRanker.from_pretrained,
    "training": trainable_encoders.load_encoder,
}


@pytest.mark.parametrize("kind", malicious.MODELS)
@pytest.mark.parametrize("loader", LOADERS)
def test_a_spoiled_model_is_refused(loader: str, kind: str, tmp_path: Path, marker: Path) -> None:
    folder = malicious.model(kind, tmp_path / "spoiled", marker)
    with quiet(), pytest.raises(ValueError, match=MESSAGES.get(kind, DAMAGED)):
        LOADERS[loader](str(folder))
    assert not marker.exists()


@pytest.mark.parametrize("kind", [kind for kind in malicious.MODELS if not kind.startswith("own")])
@pytest.mark.parametrize("loader", RANKERS)
def test_a_spoiled_ranker_is_refused(loader: str, kind: str, tmp_path: Path, marker: Path) -> None:
    folder = malicious.ranker(kind, tmp_path / "spoiled", marker)
    with quiet(), pytest.raises(ValueError, match=MESSAGES.get(kind, DAMAGED)):
        RANKERS[loader](str(folder))
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["own model", "own tokenizer"])
@pytest.mark.parametrize("loader", RANKERS)
def test_a_ranker_s_own_code_does_not_run(loader: str, kind: str, tmp_path: Path, marker: Path) -> None:
    """Published checkpoints of RankGen name code; the classes of this library are used instead, or the checkpoint is refused."""
    folder = malicious.ranker(kind, tmp_path / "spoiled", marker)
    with quiet(), suppress(ValueError):
        RANKERS[loader](str(folder))
    assert not marker.exists()


def test_a_t5_s_own_tokenizer_does_not_run(tmp_path: Path, marker: Path) -> None:
    from transformers import T5EncoderModel

    from rankgen_cases import tiny_config, tiny_tokenizer

    folder = tmp_path / "t5"
    T5EncoderModel(tiny_config()).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    malicious.own_tokenizer(folder, marker)
    with quiet(), suppress(ValueError):
        trainable_encoders.load_encoder(str(folder))
    assert not marker.exists()


@pytest.mark.parametrize("loader", [*LOADERS, *RANKERS])
def test_a_generation_of_its_own_stays_unused(loader: str, tmp_path: Path, marker: Path) -> None:
    make = malicious.ranker if loader in RANKERS else malicious.model
    folder = make("own generation", tmp_path / "spoiled", marker)
    with quiet():
        {**LOADERS, **RANKERS}[loader](str(folder))
    assert not marker.exists()


def test_a_generation_of_its_own_is_not_what_a_command_calls(tmp_path: Path, marker: Path, capsys: Any) -> None:
    folder = malicious.model("own generation", tmp_path / "spoiled", marker)
    assert main(["generate", "The captain", "--model", str(folder), "--max-new-tokens", "2", "--device", "cpu"]) == 0
    assert not marker.exists()


def test_a_chat_template_reaches_nothing(tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = malicious.model("template", tmp_path / "spoiled", marker)
    command = ["generate", "Hello", "--model", str(folder), "--chat-template", "auto", "--max-new-tokens", "2", "--device", "cpu"]
    assert main(command) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not marker.exists()


@pytest.mark.parametrize(
    ("kind", "message"),
    [("pickle", CONVERT), ("huge header", DAMAGED), ("other", "8 of its 8 weights are missing and 2 are unknown")],
)
@pytest.mark.parametrize("beside", ["", str(AMATEUR)])
def test_a_spoiled_adapter_is_refused(beside: str, kind: str, message: str, tmp_path: Path, marker: Path) -> None:
    """Of the expert, and of another model. Without its weights an adapter would be the model itself, and the contrast nothing."""
    pytest.importorskip("peft")
    adapter = malicious.write_adapter(tmp_path / "adapter", marker, kind)
    with quiet():
        loaded = load(str(AMATEUR), "cpu", "auto", False)
        layers = loaded.model.config.num_hidden_layers
        expected = message.replace("8 of its 8", f"{2 * layers} of its {2 * layers}")
        with pytest.raises(ValueError, match=rf"amateur_adapter=.*{expected}"):
            load_amateur(loaded, beside, str(adapter))
    assert not marker.exists()


@pytest.mark.parametrize(
    "make", [SentenceTransformerRanker, CrossEncoderRanker, trainable_encoders.load_encoder], ids=lambda make: make.__name__
)
def test_a_module_of_its_own_does_not_run(make: Callable[[str], Any], tmp_path: Path, marker: Path) -> None:
    pytest.importorskip("sentence_transformers")
    folder = malicious.copy_of(sentence_models.folder(), tmp_path / "spoiled")
    malicious.own_module(folder, marker)
    with pytest.raises(ValueError, match=r"comes with its own code|not a cross-encoder"):
        make(str(folder))
    assert not marker.exists()


def candidates(path: Path) -> str:
    """A file of a prefix and its continuations."""
    path.write_text(json.dumps({"prefix": "The captain", "candidates": [" was", " is"]}), encoding="utf-8")
    return str(path)


COMMANDS: dict[str, Callable[[str, Path], list[str]]] = {
    "generate": lambda folder, _: ["generate", "x", "--model", folder],
    "score": lambda folder, out: ["score", candidates(out), "--model", folder],
    "amateur": lambda folder, _: ["generate", "x", "--decoder", "contrastive_decoding", f"amateur={folder}"],
    "likelihood": lambda folder, out: ["rerank", "--file", candidates(out), "--ranker", "likelihood", f"path={folder}"],
    "sentence": lambda folder, out: ["rerank", "--file", candidates(out), "--ranker", "sentence", f"path={folder}"],
    "truthfulqa": lambda folder, out: ["truthfulqa", "--model", folder, "--output-dir", str(out)],
    "judge": lambda folder, out: [
        *["truthfulqa", "--task", "generation", "--limit", "1", "--output-dir", str(out)],
        *["--truth-judge", folder, "--info-judge", folder],
    ],
    "bench": lambda folder, out: ["bench", "--model", folder, "--output-dir", str(out)],
}


@pytest.mark.parametrize(("kind", "message"), [("own model", "--trust-remote-code"), ("pickle", "save_pretrained()")])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_it_in_a_line(
    command: str, kind: str, message: str, tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = malicious.model(kind, tmp_path / "spoiled", marker)
    assert main([*COMMANDS[command](str(folder), tmp_path / "out"), "--device", "cpu"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not marker.exists()


@pytest.mark.parametrize("command", ["generate", "amateur", "likelihood", "sentence"])
def test_the_option_lets_code_run(command: str, tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Then the marker appears: the tests above would see code that runs."""
    folder = malicious.model("own model", tmp_path / "spoiled", marker)
    assert main([*COMMANDS[command](str(folder), tmp_path / "out"), "--device", "cpu", "--trust-remote-code"]) == 1
    assert marker.exists()
    assert capsys.readouterr().err.startswith("counterpoint: error: ")


@pytest.mark.parametrize("kind", ["pickle", "plain pickle"])
def test_the_payload_would_run(kind: str, tmp_path: Path, marker: Path) -> None:
    folder = malicious.model(kind, tmp_path / "spoiled", marker)
    with suppress(RuntimeError):  # of the plain one, when it has run
        torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert marker.exists()


def test_broken_refusals_are_caught(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("counterpoint.eval.loading.refusals", lambda *_: nullcontext())
    with pytest.raises((AssertionError, Exception)):
        test_a_spoiled_model_is_refused("model", "pickle", tmp_path, marker)


@pytest.mark.parametrize(
    "content",
    [
        "decoders: ['{code}:Own']",
        "decoders: ['best_of:ranker=[{code}:Own]']",
        "metrics: ['{code}:own']",
        "model: !!python/object/apply:os.mkdir ['{marker}']",
    ],
)
def test_a_file_of_options_runs_nothing(content: str, tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.py"
    own.write_text(malicious.code(marker), encoding="utf-8")
    config = tmp_path / "bench.yaml"
    config.write_text(content.format(code=own, marker=marker), encoding="utf-8")
    assert main(["bench", "--config", str(config), "--output-dir", str(tmp_path / "out")]) in (1, 2)
    assert capsys.readouterr().err.count("\n") == 1
    assert not marker.exists()


def test_the_yaml_would_run(marker: Path) -> None:
    yaml.unsafe_load(f"!!python/object/apply:os.mkdir ['{marker}']")
    assert marker.exists()


def test_a_folder_of_results_runs_nothing(tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Code that its ``config.json`` names, until the command line names it too."""
    own = tmp_path / "own.py"
    own.write_text(malicious.code(marker) + "def own(texts, references, prompts):\n    return 1.0\n", encoding="utf-8")
    folder = write_run(tmp_path / "run", {"greedy": {0: [" a", " b"]}})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "metrics": [f"{own}:own"]}), encoding="utf-8")
    assert main(["bench", "score", str(folder)]) == 2
    assert f"runs only where a command line names it: --metrics {own}:own" in capsys.readouterr().err
    assert not marker.exists()
    assert main(["bench", "score", str(folder), "--metrics", f"{own}:own"]) == 0
    assert marker.exists()
