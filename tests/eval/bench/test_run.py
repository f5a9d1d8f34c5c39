"""``counterpoint bench``: what is generated, kept, resumed, refused; texts that no batch, process or kill changes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, AutoTokenizer

from counterpoint.decoders import decoder
from counterpoint.eval import AMATEUR
from counterpoint.eval.bench import generation as bench_generation
from counterpoint.eval.bench import run as bench_run
from counterpoint.eval.bench import work as bench_work
from counterpoint.eval.bench.records import read_config, read_failures, read_generations, read_speed
from counterpoint.eval.choosing import parse_decoder
from counterpoint.eval.cli.main import main
from counterpoint.eval.journal import read_records
from counterpoint.eval.loading import load
from counterpoint.eval.revisions import revision
from counterpoint.rankers import LikelihoodRanker, OverlapRanker, ranked_search, rerank

RANKED = "ranked_search:ranker=overlap,beams=2,candidates=3,tokens_per_round=4,proposals=[nucleus:top_p=0.9,temperature=2.0]"
DECODERS = ["greedy", "beam:num_beams=2", "nucleus", "contrastive_search:top_k=3", RANKED]
SMALL = ["--model", str(AMATEUR), "--device", "cpu", "--limit", "5", "--max-new-tokens", "8", "--batch-size", "2", "--quiet"]
UNSCORED = ["--metrics", "diversity"]


def arguments_of(folder: Path, *words: str) -> list[str]:
    """A small run of ``bench`` into a folder; words come last, and win."""
    return ["bench", *SMALL, *UNSCORED, "--output-dir", str(folder), "--decoders", *DECODERS, *words]


def bench(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> list[dict[str, Any]]:
    """The texts of a run that succeeds."""
    assert main(arguments_of(folder, *words)) == 0, capsys.readouterr().err
    capsys.readouterr()
    return read_generations(folder)


def error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a run that fails."""
    assert main(["bench", *arguments]) in (1, 2)
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


def lines_of(folder: Path) -> list[str]:
    """The keys in the files of texts, as often as they are there."""
    return [record["key"] for record in read_records(folder, "generations*.jsonl")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    assert main(arguments_of(folder, "--num-seeds", "2")) == 0
    return folder


def test_texts_are_those_of_generate_one_by_one(whole: Path) -> None:
    """Against ``generate`` on each prompt alone; sampled ones against each other."""
    model: Any = AutoModelForCausalLM.from_pretrained(AMATEUR)
    tokenizer: Any = AutoTokenizer.from_pretrained(AMATEUR)
    found = read_generations(whole)
    assert len(found) == 5 * (3 + 2 + 2)  # samplers have two seeds, the others draw no numbers
    for record in found:
        spec = parse_decoder(record["label"])
        if spec.row.sampling:
            continue
        ids = tokenizer(record["prompt"], return_tensors="pt")
        output = model.generate(**ids, max_new_tokens=8, **decoder(record["label"], model))
        assert record["text"] == tokenizer.decode(output[0, ids["input_ids"].shape[1] :])
        assert (record["tokens"], record["finished"]) == (8, False)
    for name in ("nucleus", "ranked_search"):
        assert len({record["text"] for record in found if record["decoder"] == name}) == 10


def test_ranked_texts_are_those_of_ranked_search(whole: Path) -> None:
    """From the call that a user would write, seeded as a bench seeds a text."""
    loaded = load(str(AMATEUR), "cpu", "auto", trust_remote_code=False)
    found = [record for record in read_generations(whole) if record["decoder"] == "ranked_search"]
    for record in found:
        ids = loaded.tokenizer(record["prompt"], return_tensors="pt").input_ids
        passage = bench_generation.Passage(record["index"], record["prompt"], record["reference"], tuple(ids[0].tolist()))
        torch.manual_seed(bench_generation.row_seed(record["seed"], passage))
        search: Any = dict(ranker=OverlapRanker(), processing_class=loaded.tokenizer, beams=2, candidates=3, tokens_per_round=4)
        sampling: Any = dict(do_sample=True, top_p=0.9, top_k=0, temperature=2.0, max_new_tokens=8)
        output: Any = loaded.model.generate(ids, custom_generate=ranked_search, **search, **sampling)  # type: ignore[operator]
        assert record["text"] == loaded.tokenizer.decode(output[0, ids.shape[1] :])


def test_the_best_of_samples_is_the_rankers_choice() -> None:
    """Ranked search with one beam and one round, so that it is the best of its own candidates."""
    loaded = load(str(AMATEUR), "cpu", "auto", trust_remote_code=False)
    passage = bench_generation.Passage(0, "The sea and", None, tuple(loaded.tokenizer("The sea and")["input_ids"]))
    choice = parse_decoder(["best_of:ranker=[likelihood:form=log_likelihood],candidates=6"])
    (found,) = bench_generation.continue_batch(loaded, choice, [passage], 3, 12)
    torch.manual_seed(bench_generation.row_seed(3, passage))
    ids = torch.tensor([passage.ids])
    sampling: Any = dict(do_sample=True, top_p=0.9, top_k=0, max_new_tokens=12, num_return_sequences=6)
    samples: Any = loaded.model.generate(ids, **sampling)  # type: ignore[operator]
    ranker = LikelihoodRanker(loaded.model, loaded.tokenizer, form="log_likelihood")
    (best,) = rerank(ranker, ["The sea and"], samples, tokenizer=loaded.tokenizer, prompt_length=ids.shape[1])
    assert found.text == best.texts[0]
    assert len({*best.texts}) > 1


def test_what_is_recorded(whole: Path) -> None:
    config, record = read_config(whole), read_generations(whole)[0]
    assert config["decoders"][1] == {
        "decoder": "beam",
        "label": "beam:num_beams=2,length_penalty=1.0",
        "parameters": {"num_beams": 2, "length_penalty": 1.0},
        "seeds": 1,
        "num_prompts": 5,
        "task": next(each["task"] for each in read_generations(whole) if each["decoder"] == "beam"),
    }
    assert (config["num_prompts"], config["num_seeds"], config["run"]["dtype"]) == (5, 2, "float32")
    assert config["run"]["revision"] == record["revision"] == revision(str(AMATEUR))
    assert record.keys() == {
        *("key", "decoder", "label", "parameters", "model", "revision", "dtype", "seed", "index", "prompt", "reference"),
        *("text", "tokens", "finished", "task", "versions"),
    }
    assert read_failures(whole) == []


def test_an_end_is_an_end() -> None:
    loaded = load(str(AMATEUR), "cpu", "auto", trust_remote_code=False)
    passage = bench_generation.Passage(0, "It", None, tuple(loaded.tokenizer("It")["input_ids"]))
    (plain,) = bench_generation.continue_batch(loaded, parse_decoder(["greedy"]), [passage], 0, 6)
    ids = loaded.tokenizer(plain.text)["input_ids"]
    config: Any = loaded.model.generation_config
    config.eos_token_id = [ids[3], 9999]
    config.pad_token_id = 0
    two = [passage, bench_generation.Passage(1, "My fellow", None, tuple(loaded.tokenizer("My fellow")["input_ids"]))]
    ended, other = bench_generation.continue_batch(loaded, parse_decoder(["greedy"]), two, 0, 6)
    place = ids.index(ids[3]) + 1
    assert (ended.tokens, ended.finished) == (place, True)
    assert plain.text.startswith(ended.text)
    assert other.tokens > place or other.finished


@pytest.mark.parametrize("size", ["1", "5"])
def test_batch_size_changes_no_text(capsys: pytest.CaptureFixture[str], tmp_path: Path, whole: Path, size: str) -> None:
    """In float32 rounding alone could, where two tokens are equal to the last bits: not here."""
    assert bench(capsys, tmp_path, "--num-seeds", "2", "--batch-size", size) == read_generations(whole)


def test_a_model_that_is_spread_over_devices(capsys: pytest.CaptureFixture[str], tmp_path: Path, whole: Path) -> None:
    texts = bench(capsys, tmp_path, "--device-map", "auto", "--decoders", "greedy", "nucleus")
    assert texts == [record for record in read_generations(whole) if record["decoder"] in ("greedy", "nucleus")][:10]


def test_a_stream_that_rows_share_is_seen(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_generation, "row_seed", lambda seed, passage: seed)
    texts = [record["text"] for record in bench(capsys, tmp_path, "--num-seeds", "2")]
    assert texts != [record["text"] for record in read_generations(whole)]


def test_the_same_command_generates_nothing_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(whole, tmp_path / "copy")
    before = (copy / "generations.jsonl").read_bytes()
    monkeypatch.setattr(bench_work, "continue_batch", lambda *arguments: pytest.fail("generated again"))
    assert bench(capsys, copy, "--num-seeds", "2") == read_generations(whole)
    assert (copy / "generations.jsonl").read_bytes() == before
    assert bench(capsys, copy, "--num-seeds", "1", "--limit", "2") == read_generations(whole)  # what was there before is there
    assert (copy / "generations.jsonl").read_bytes() == before


def test_more_of_it_continues(capsys: pytest.CaptureFixture[str], tmp_path: Path, whole: Path) -> None:
    bench(capsys, tmp_path, "--decoders", "greedy", "nucleus", "--limit", "3")
    assert bench(capsys, tmp_path, "--num-seeds", "2") == read_generations(whole)
    assert len(set(lines_of(tmp_path))) == len(lines_of(tmp_path)) == 35


PROGRAM = """
import os, signal, sys
from counterpoint.eval import journal
from counterpoint.eval.bench import work as bench_work
from counterpoint.eval.cli.main import main
if sys.argv[1] == "batch":  # no word of the third batch is on the disk yet
    calls, generate = [], bench_work.continue_batch
    def continue_batch(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return generate(*arguments)
    bench_work.continue_batch = continue_batch
else:  # half of a line is
    real = journal.os.fsync
    lines = []
    def fsync(descriptor):
        real(descriptor)
        lines.append(descriptor)
        if len(lines) == 4:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            os.truncate(path, os.path.getsize(path) - 40)
            os.kill(os.getpid(), signal.SIGKILL)
    journal.os.fsync = fsync
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds its file by /proc")
@pytest.mark.parametrize("moment", ["batch", "line"])
def test_a_kill_loses_the_batch_in_hand_and_nothing_else(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, whole: Path, moment: str
) -> None:
    command = [sys.executable, "-c", PROGRAM, moment, *arguments_of(tmp_path, "--num-seeds", "2")]
    killed = subprocess.run(command, capture_output=True, check=False, timeout=600)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    kept = lines_of(tmp_path)
    assert len(kept) == (4 if moment == "batch" else 2)  # fsync of config.json is the first
    assert bench(capsys, tmp_path, "--num-seeds", "2") == read_generations(whole)
    assert lines_of(tmp_path)[: len(kept)] == kept
    assert len(set(lines_of(tmp_path))) == len(lines_of(tmp_path)) == 35


def test_a_failing_decoder_is_recorded_and_the_rest_go_on(capsys: pytest.CaptureFixture[str], tmp_path: Path, whole: Path) -> None:
    arguments = arguments_of(tmp_path, "--decoders", "context_aware", "greedy", "dola:layers=50", "contrastive_search:top_k=3")
    message = error(capsys, *arguments[1:])
    assert "2 of 4 decoders failed, context_aware first: decoder context_aware:beta=0.5: a prompt has no context" in message
    failures = {record["decoder"]: record["error"] for record in read_failures(tmp_path)}
    assert "layers=[50]" in failures["dola"]
    texts = [(record["label"], record["text"]) for record in read_generations(tmp_path)]
    labels = {label for label, _ in texts}
    assert labels == {"greedy", "contrastive_search:penalty_alpha=0.6,top_k=3"}
    assert texts == [(record["label"], record["text"]) for record in read_generations(whole) if record["label"] in labels]
    bench(capsys, tmp_path, "--decoders", "greedy")  # the others' failures stay in the report, and this run did not fail
    assert {record["decoder"] for record in read_failures(tmp_path)} == {"context_aware", "dola"}


def test_one_writer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"):
        assert "another command is writing it" in error(capsys, *arguments_of(tmp_path)[1:])
    assert not list(tmp_path.glob("*.jsonl"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-new-tokens", "9"], "holds texts of max_new_tokens=8, which do not go with those of max_new_tokens=9"),
        (["--dtype", "bfloat16"], "holds texts of dtype=float32"),
        (["--file", "{file}"], "holds texts of prompts_sha256="),
    ],
)
def test_texts_of_one_kind(capsys: pytest.CaptureFixture[str], whole: Path, tmp_path: Path, words: list[str], message: str) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("It was\n")
    assert message in error(capsys, *arguments_of(whole, *(word.format(file=file) for word in words))[1:])


def test_another_model_is_another_run(capsys: pytest.CaptureFixture[str], tmp_path: Path, whole: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in AMATEUR.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert revision(str(copy)) == revision(str(AMATEUR))
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert "holds texts of revision=sha256:" in error(capsys, *arguments_of(whole, "--model", str(copy))[1:])


def test_speed_is_relative_to_greedy_search(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench(capsys, tmp_path, "--metrics", "speed", "--limit", "2")
    found = {record["decoder"]: record for record in read_speed(tmp_path)}
    assert {name: record["relative"] == 1.0 for name, record in found.items()} == {
        "greedy": True,
        **dict.fromkeys(("beam", "nucleus", "contrastive_search", "ranked_search"), False),
    }
    for record in found.values():
        assert len(record["repeats"]) == 3
        assert sorted(record["repeats"])[1] == record["tokens_per_second"]
        assert (record["batch_size"], record["new_tokens"]) == (2, 8)
    if sys.platform == "linux":
        assert all(record["peak_memory_bytes"] > 10e6 and record["relative_memory"] > 0 for record in found.values())
    monkeypatch.setattr(bench_work, "measure_speed", lambda *arguments: pytest.fail("timed again"))
    bench(capsys, tmp_path, "--metrics", "speed", "--limit", "2")


def test_the_plan_writes_nothing_and_reads_no_weights(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(arguments_of(tmp_path / "new", "--dry-run")) == 0
    assert not (tmp_path / "new").exists()
    assert "5 prompts of" in capsys.readouterr().out
    assert main(arguments_of(whole, "--dry-run", "--json", "--num-seeds", "3", "--limit", "6")) == 0
    plan = {row["decoder"].partition(":")[0]: row for row in json.loads(capsys.readouterr().out)["plan"]}
    assert plan["greedy"]["texts"] == 6
    assert plan["greedy"]["done"] == 5
    assert (plan["nucleus"]["texts"], plan["nucleus"]["done"]) == (18, 10)
    assert (plan["beam"]["rows"], plan["contrastive_search"]["rows"]) == (4, 6)
    assert (plan["greedy"]["tokens"], plan["greedy"]["forwards"]) == (16, 8)  # the missing one's batch of two
    ranked = plan["ranked_search"]
    assert (ranked["rows"], ranked["forwards"], ranked["tokens"]) == (6, 64, 64)  # a prompt at a time: 1, 1 and a new seed's 6


LAUNCH = [
    *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m", "counterpoint.eval.cli"),
]


@pytest.mark.skipif(torch.accelerator.is_available(), reason="a machine without an accelerator")
@pytest.mark.parametrize("device", [None, "cpu"])
def test_processes_know_each_other_without_an_accelerator(device: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """``PartialState`` joins processes of the CPU only where it is told that they are: without it each writes all of the plan."""
    told: dict[str, Any] = {}

    def alone(state: Any, **options: Any) -> None:
        state.num_processes = 1
        told.update(options)

    monkeypatch.setattr(bench_run.PartialState, "__init__", alone)
    bench_run.processes(Namespace(device=device, device_map=None))
    assert told["cpu"] is True


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="two processes of the CPU")
def test_two_processes_are_as_one(capsys: pytest.CaptureFixture[str], tmp_path: Path, whole: Path) -> None:
    command = [*LAUNCH, *arguments_of(tmp_path, "--num-seeds", "2")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stderr
    assert {path.name for path in tmp_path.glob("generations*")} == {"generations-0.jsonl", "generations-1.jsonl"}
    shares = [list(read_records(tmp_path, f"generations-{rank}.jsonl")) for rank in (0, 1)]
    assert all(len(share) > 5 for share in shares)
    assert len(set(lines_of(tmp_path))) == len(lines_of(tmp_path)) == 35
    assert read_generations(tmp_path) == read_generations(whole)
    assert bench(capsys, tmp_path, "--num-seeds", "2") == read_generations(whole)  # one process finds the work of two
    assert len(lines_of(tmp_path)) == 35
