"""``counterpoint train-ranker``: from texts to a ranker that loads, its card, its errors, and several processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Regex, normalizers
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, T5Config, T5EncoderModel

from counterpoint.eval import AMATEUR
from counterpoint.eval.cli.main import build_parser, main
from counterpoint.eval.training.ranker_training import Data, accuracy
from counterpoint.rankers import RankGenRanker
from counterpoint.rankers.training.continuation_choice import ContinuationChoice, choices, picked, read_choices, write_choices
from counterpoint.rankers.training.contrastive_training import Settings
from counterpoint.rankers.training.passages import Passage
from counterpoint.rankers.training.trainable_encoders import TrainableSentenceEncoder, load_encoder, load_ranker
from processes import run

NAMES = "whale ship sea captain boat sailor harpoon island storm wave house garden letter carriage sister".split()
SMALL_DATA = "--prefix-words 20 --continuation-words 3 30 --choices 6 --wrong 2".split()
QUICK = ["--device", "cpu", "--generator", str(AMATEUR), "--batch-size", "4", "--learning-rate", "1e-3", "--checkpoint-steps", "2"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny T5 with the embedded models' tokens."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = AutoTokenizer.from_pretrained(AMATEUR)
    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])
    end = (tokenizer.eos_token, tokenizer.eos_token_id)
    backend.post_processor = TemplateProcessing(single=f"$A {end[0]}", special_tokens=[end])
    torch.manual_seed(0)
    sizes = dict(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-silu")
    config = T5Config(**sizes, dropout_rate=0.1, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id)
    T5EncoderModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two texts to train on, and one beside it to hold out."""
    folder = tmp_path_factory.mktemp("texts") / "train"
    folder.mkdir()
    for number, name in enumerate(("north.txt", "south.txt", "../held.txt")):
        said = [f"In chapter {number} the {one} came to the {other}. It was very old." for one in NAMES for other in NAMES[:3]]
        (folder / name).write_text(" ".join(said[:20]), encoding="utf-8")
    return folder


def command(base: Path, texts: Path, output: Path, *more: str) -> list[str]:
    """The arguments of a training."""
    held_out = str(texts.parent / "held.txt")
    names = ["--output-dir", str(output), "--model", str(base), "--held-out-file", held_out]
    return ["train-ranker", "--file", str(texts), *names, *SMALL_DATA, *QUICK, *more]


def failure(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """The message of a command that fails with ``code``."""
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("counterpoint: error: ")
    assert (captured.err.count("\n"), captured.out) == (1, "")
    return captured.err


def test_output_and_files(capsys: pytest.CaptureFixture[str], base: Path, texts: Path, tmp_path: Path) -> None:
    output = tmp_path / "made" / "ranker"
    assert main(command(base, texts, output)) == 0
    captured = capsys.readouterr()
    assert captured.err == ""  # the bar is for terminals
    record = json.loads((output / "training.json").read_text(encoding="utf-8"))
    lines = captured.out.splitlines()
    assert lines[0] == f"{record['passages_used']} passages of 2 texts, {record['steps']} steps"
    assert re.fullmatch(r"true continuation picked from among 3, in-book: [\d.]+ % \(.*\) before, [\d.]+ % \(.*\) after", lines[1])
    assert [line.partition(": ")[0].split()[-1] for line in lines[1:3]] == ["in-book", "generated"]
    assert lines[3:] == [str(output)]
    files = {path.name for path in output.iterdir()}
    models = {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "training.json"}
    assert files == models | {"held_out.jsonl", "held_out_negatives", "negatives"}
    chosen = read_choices(output / "held_out.jsonl")
    assert len(chosen) == record["measured"]
    ranker = load_ranker(output)
    for kind in ("in_book", "generated"):
        outcomes = picked(ranker, chosen, kind)
        assert record["after"][kind]["mean"] == sum(outcomes) / len(outcomes)
    assert main(command(base, texts, output)) == 0  # again: only the figures
    assert capsys.readouterr().out == captured.out
    assert main([*command(base, texts, output), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main([*command(base, texts, output), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["output_dir"], found["candidates"], found["steps"]) == (str(output), 3, record["steps"])
    assert {name: found[name] for name in ("before", "after")} == {name: record[name] for name in ("before", "after")}
    card = (output / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    exec(code, {})  # noqa: S102 - ours
    assert capsys.readouterr().out.startswith("tensor([")


def test_what_is_trained_is_what_is_written(base: Path, texts: Path, tmp_path: Path) -> None:
    assert main(command(base, texts, tmp_path / "whole", "--negatives", "0")) == 0
    assert main(command(base, texts, tmp_path / "half", "--negatives", "0", "--half-precision")) == 0
    whole, stored = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "half"))
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    first = load_encoder(str(base)).as_ranker()
    assert isinstance(first, RankGenRanker)
    for name, tensor in whole.items():
        torch.testing.assert_close(stored[name].float(), tensor, rtol=1e-3, atol=1e-6)
    assert not torch.equal(whole["projection.weight"], first.encoder.projection.weight)
    loaded = RankGenRanker.from_pretrained(tmp_path / "half").encoder
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded.projection.weight, stored["projection.weight"].float())


def test_a_ranker_can_be_trained_further(base: Path, texts: Path, tmp_path: Path) -> None:
    assert main(command(base, texts, tmp_path / "one", "--negatives", "0")) == 0
    weights = load_file(tmp_path / "one" / "model.safetensors")
    further = load_encoder(str(tmp_path / "one")).as_ranker()
    assert isinstance(further, RankGenRanker)
    assert torch.equal(further.encoder.projection.weight, weights["projection.weight"])
    assert main(command(tmp_path / "one", texts, tmp_path / "two", "--negatives", "0")) == 0


KILLED = """
import os, signal, sys
from counterpoint.eval.cli.main import main
from counterpoint.eval.training import generated_negatives
from counterpoint.eval.training import ranker_training as training
def at_call(number, function):
    calls = []
    def counted(*arguments, **options):
        calls.append(arguments)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return counted
moment = sys.argv[1]
if moment == "negatives":  # a batch is written, the next is not
    generated_negatives.sampled = at_call(2, generated_negatives.sampled)
elif moment == "step":  # past a checkpoint
    train = training.train
    training.train = lambda *a, report, **o: train(*a, **o, report=at_call(3, report or (lambda *numbers: None)))
else:  # all is trained and measured
    training.card = at_call(1, training.card)
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def unkilled(base: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("unkilled") / "ranker"
    assert main(command(base, texts, folder)) == 0
    return folder


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
@pytest.mark.skipif("COUNTERPOINT_ROUNDING" in os.environ, reason="the process that is killed rounds as this machine does")
@pytest.mark.parametrize("moment", ["negatives", "step", "card"])
def test_after_a_kill_the_same_command_ends_as_without(
    base: Path, texts: Path, tmp_path: Path, unkilled: Path, moment: str
) -> None:
    output = tmp_path / "ranker"
    program = [sys.executable, "-c", KILLED, moment, *command(base, texts, output)]
    killed = subprocess.run(program, capture_output=True, check=False, timeout=600)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (output / "README.md").exists()
    assert main(command(base, texts, output)) == 0
    files = sorted(path.relative_to(unkilled) for path in unkilled.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(output) for path in output.rglob("*") if path.is_file())
    for file in files:
        told = (output / file).read_bytes().replace(bytes(output), bytes(unkilled))  # the card names its folder
        assert told == (unkilled / file).read_bytes(), file


def test_a_model_that_is_not_there_takes_no_folder(
    capsys: pytest.CaptureFixture[str], base: Path, texts: Path, tmp_path: Path
) -> None:
    message = failure(capsys, 1, *command(tmp_path / "nowhere", texts, tmp_path / "ranker", "--negatives", "0"))
    assert "nowhere" in message
    assert main(command(base, texts, tmp_path / "ranker", "--negatives", "0")) == 0


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="two processes of the CPU")
def test_two_processes(base: Path, texts: Path, tmp_path: Path) -> None:
    """Each takes every other minibatch and writes every other batch of negatives; both end with the same ranker."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m", "counterpoint.eval.cli"]
    output = tmp_path / "ranker"
    arguments = command(base, texts, output)
    result = subprocess.run([*launch, *arguments], capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(result.stdout.splitlines()) == 4
    record = json.loads((output / "training.json").read_text(encoding="utf-8"))
    assert main(command(base, texts, tmp_path / "alone")) == 0
    alone = json.loads((tmp_path / "alone" / "training.json").read_text(encoding="utf-8"))
    assert record["processes"] == 2
    assert record["steps"] == -(-alone["steps"] // 2)
    journals = [path.read_text(encoding="utf-8").splitlines() for path in sorted((output / "negatives").iterdir())]
    written = (tmp_path / "alone" / "negatives" / "negatives-0.jsonl").read_text(encoding="utf-8").splitlines()
    assert sorted(line for journal in journals for line in journal) == sorted(written)
    assert read_choices(output / "held_out.jsonl") == read_choices(tmp_path / "alone" / "held_out.jsonl")
    load_ranker(output)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: --file, --output-dir, --model"),
        (["--file", "x", "--output-dir", "y"], "required: --model"),
        (["--file", "x", "--output-dir", "y", "--model", "z", "--epochs", "0"], "'0' is not a whole number of 1 or more"),
        (["--file", "x", "--output-dir", "y", "--model", "z", "--learning-rate", "fast"], "'fast' is not a number above 0"),
        (["--file", "x", "--output-dir", "y", "--model", "z", "--epoch", "1"], "unknown option --epoch (did you mean --epochs?)"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert message in failure(capsys, 2, "train-ranker", *arguments)


def test_failures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, base: Path, texts: Path, tmp_path: Path
) -> None:
    output = tmp_path / "ranker"
    assert "No such file" in failure(capsys, 1, *command(base, tmp_path / "absent", output))
    held = texts.parent / "held.txt"
    assert "both trained on and held out" in failure(capsys, 2, *command(base, held, output))
    assert "--continuation-words 12 3: the least" in failure(
        capsys, 2, *command(base, texts, output, "--continuation-words", "12", "3")
    )
    assert "'1.5' is not a probability" in failure(capsys, 2, *command(base, texts, output, "--top-p", "1.5"))
    assert "'1' is not a whole number of 2" in failure(capsys, 2, *command(base, texts, output, "--batch-size", "1"))
    assert "'1' is not a number of 0 or more, below 1" in failure(capsys, 2, *command(base, texts, output, "--warmup", "1"))
    assert not output.exists()
    assert "is neither a local folder" in failure(capsys, 1, *command(base, texts, output, "--generator", "./absent"))
    short = texts.parent / "short.txt"
    short.write_text("One sentence.")
    message = failure(capsys, 1, *command(base, short, tmp_path / "short", "--negatives", "0"))
    assert "none of the documents has two passages" in message
    assert not (tmp_path / "short").exists()
    message = failure(capsys, 1, *command(base, texts, tmp_path / "unmeasured", "--negatives", "0", "--wrong", "99"))
    assert "wrong=99: none of 6 held-out passages has so many" in message
    assert main(command(base, texts, output, "--negatives", "0")) == 0
    capsys.readouterr()
    message = failure(capsys, 1, *command(base, texts, output, "--negatives", "0", "--epochs", "2"))
    assert "was begun with epochs=1, now it is 2" in message
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    assert "is not a T5; other encoders" in failure(capsys, 1, *command(AMATEUR, texts, tmp_path / "other", "--negatives", "0"))


def test_help_comes_without_torch() -> None:
    program = (
        "import sys\nfrom counterpoint.eval.cli.main import main\n"
        "try:\n    main(['train-ranker', '--help'])\n"
        "except SystemExit:\n    print(sorted({'torch', 'transformers', 'numpy', 'accelerate'} & set(sys.modules)))\n"
    )
    assert run("-c", program).endswith("\n[]\n")


def test_defaults_are_those_of_the_function() -> None:
    arguments = build_parser().parse_args(["train-ranker", "--file", "x", "--output-dir", "y", "--model", "z"])
    for name, value in {**vars(Settings()), **vars(Data())}.items():
        found = getattr(arguments, name)
        assert (tuple(found) if isinstance(found, list) else found) == value


def test_choices_are_of_the_same_document() -> None:
    found = [Passage(book, f"{book} {i}", f" {book} goes on {i}.", 9) for book in "ab" for i in range(5)]
    made = choices(found, found[3:7], [["x", "y", "z"], ["x"], ["x", "y"], ["x", "y"]], count=2, both=True)
    assert [choice.prefix for choice in made] == ["a 3", "b 0", "b 1"]
    for choice in made:
        assert all(text.startswith(f" {choice.prefix[0]} ") for text in choice.in_book)
        assert choice.continuation not in choice.in_book
        assert choice.generated == ("x", "y")
        assert len(set(choice.in_book)) == 2
    assert len(choices(found, found, [[]] * 10, count=4, both=False)) == 10
    assert choices(found, found, [[]] * 10, count=5, both=False) == []


def test_choices_are_written_and_read(tmp_path: Path) -> None:
    made = [ContinuationChoice("A\u2028b.", " C\nd.", (" E.", " F."), ()), ContinuationChoice("é.", " \x85.", (" E.",), (" G.",))]
    write_choices(made, tmp_path / "choices.jsonl")
    assert read_choices(tmp_path / "choices.jsonl") == made


def test_an_accuracy_has_its_interval() -> None:
    found = accuracy([1.0, 0.0, 1.0, 0.5] * 25)
    assert found.mean == 0.625
    assert found.low < 0.625 < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.415 / 10, rel=0.2)


def test_a_model_of_sentence_transformers(capsys: pytest.CaptureFixture[str], texts: Path, tmp_path: Path, base: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    torch.manual_seed(0)
    transformer = Transformer(str(AMATEUR))
    transformer.tokenizer.padding_side = "right"
    folder = tmp_path / "bi-encoder"
    SentenceTransformer(modules=[transformer, Pooling(96), Normalize()], device="cpu").save_pretrained(str(folder))
    output = tmp_path / "ranker"
    assert main(command(folder, texts, output, "--negatives", "0")) == 0
    encoder = load_encoder(str(output))
    assert isinstance(encoder, TrainableSentenceEncoder)
    assert encoder.model.similarity_fn_name == "dot"
    texts_of_both = ["The whale came."], [" It was old.", " The ship came to the sea."]
    (scores,) = load_ranker(output).score(texts_of_both[0], [texts_of_both[1]])
    prefix, suffixes = (encoder(**encoder.tokens(own, side)) for own, side in zip(texts_of_both, ("prefix", "suffix"), strict=True))
    torch.testing.assert_close(scores, suffixes @ prefix[0], rtol=1e-4, atol=1e-4)
    assert scores.abs().max() > 1.0  # not normalised
