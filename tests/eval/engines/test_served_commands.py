"""``bench``, ``generate`` and ``rerank`` by a server: texts are those of this process, each is kept at once, and a run goes on."""

from __future__ import annotations

import json
from inspect import unwrap
from pathlib import Path
from typing import Any

import pytest

import stub_server
from counterpoint.eval import AMATEUR
from counterpoint.eval.bench.records import read_config, read_failures, read_generations, read_results, read_speed
from counterpoint.eval.cli.main import main
from counterpoint.eval.engines import client
from counterpoint.eval.report.table import markdown
from round_robin import balanced
from stub_server import Stub, StubModel, serving

SIZE = ["--limit", "4", "--max-new-tokens", "6", "--device", "cpu"]
RANKED = "ranked_search:ranker=overlap,beams=2,candidates=3,tokens_per_round=3"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits between tries."""
    monkeypatch.setattr(unwrap(client.Client.__init__), "__kwdefaults__", {"timeout": 60.0, "sleep": lambda _: None})


def server_of(stub: Stub, *, tokenizer: bool = True) -> list[str]:
    named = ["--tokenizer", str(AMATEUR)] if tokenizer else []
    return ["--engine", "openai", "--base-url", stub.url, "--model", "stub", *named, "--concurrency", "3"]


def bench(stub: Stub, folder: Path, *words: str, tokenizer: bool = True) -> int:
    given = ["bench", *SIZE, *server_of(stub, tokenizer=tokenizer), "--quiet", "--output-dir", str(folder)]
    return main([*given, "--metrics", "diversity", *words])


def test_greedy_texts_are_those_of_this_process(stub: Stub, tmp_path: Path) -> None:
    assert bench(stub, tmp_path / "served", "--decoders", "greedy") == 0
    here = ["--model", str(AMATEUR), "--output-dir", str(tmp_path / "here"), "--quiet", "--metrics", "diversity"]
    assert main(["bench", *SIZE, *here, "--decoders", "greedy"]) == 0
    names = ("index", "prompt", "reference", "text", "tokens", "finished")
    found, own = ([[each[name] for name in names] for each in read_generations(tmp_path / folder)] for folder in ("served", "here"))
    assert found == own
    assert len(found) == 4


@pytest.mark.slow
def test_a_run_that_was_interrupted_goes_on_with_what_is_missing(stub: Stub, tmp_path: Path) -> None:
    words = ["--decoders", "greedy", "nucleus", "best_of:ranker=overlap,candidates=3", RANKED]
    assert bench(stub, tmp_path / "whole", *words) == 0
    whole = {each["key"]: each["text"] for each in read_generations(tmp_path / "whole")}
    stub.faults = [lambda *_: False] * 4 + [stub_server.drop] * 100
    assert bench(stub, tmp_path / "cut", *words) == 1
    kept = read_generations(tmp_path / "cut")
    assert 0 < len(kept) < 16
    stub.faults.clear()
    with serving(Stub(stub.model)) as elsewhere:  # under another address
        assert bench(elsewhere, tmp_path / "cut", *words) == 0
        assert elsewhere.requests
    found = {each["key"]: each["text"] for each in read_generations(tmp_path / "cut")}
    assert found == whole
    assert len(found) == 16
    assert {each["key"]: each["text"] for each in kept}.items() <= found.items()


def at(url: str, folder: Path, *words: str) -> int:
    """A benchmark of two decoders by the server at an address."""
    given = ["bench", *SIZE, "--engine", "openai", "--base-url", url, "--model", "stub", "--tokenizer", str(AMATEUR)]
    asked = ["--concurrency", "3", "--quiet", "--metrics", "diversity", "--decoders", "greedy", "nucleus"]
    return main([*given, *asked, "--output-dir", str(folder), *words])


def test_replicas_behind_one_address_are_one_server(stub: Stub, tmp_path: Path) -> None:
    assert at(stub.url, tmp_path / "one") == 0
    with serving(Stub(stub.model)) as second, balanced([stub.url, second.url]) as url:
        stub.requests.clear()
        second.faults = [stub_server.drop] * 3  # it fails, and the same requests go to the other
        assert at(url, tmp_path / "two") == 0
        assert stub.requests
        assert len(second.requests) > 3
    texts = [{each["key"]: each["text"] for each in read_generations(tmp_path / name)} for name in ("one", "two")]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 8


def test_shards_may_ask_a_replica_each(stub: Stub, tmp_path: Path) -> None:
    assert at(stub.url, tmp_path / "one") == 0
    with serving(Stub(stub.model)) as second:
        for shard, url in (("0/2", stub.url), ("1/2", second.url)):
            assert at(url, tmp_path / "two", "--shard", shard) == 0
        assert second.requests
    assert main(["bench", "score", str(tmp_path / "two"), "--quiet"]) == 0
    texts = [{each["key"]: each["text"] for each in read_generations(tmp_path / name)} for name in ("one", "two")]
    assert texts[0] == texts[1]


def test_other_weights_under_the_same_name_do_not_go_on(stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from counterpoint.eval import EXPERT

    assert bench(stub, tmp_path, "--decoders", "greedy") == 0
    with serving(Stub(StubModel(str(EXPERT)))) as other:
        assert bench(other, tmp_path, "--decoders", "greedy", tokenizer=False) != 0
    assert "holds texts of fingerprint=" in capsys.readouterr().err


def test_last_digits_of_log_probabilities_do_not_matter(stub: Stub, tmp_path: Path) -> None:
    assert bench(stub, tmp_path, "--decoders", "greedy") == 0
    before = read_config(tmp_path)["run"]["fingerprint"]

    def nudged(body: Any, found: Any) -> Any:
        for choice in found["choices"] if body.get("echo") else []:
            scores = choice["logprobs"]["token_logprobs"]
            choice["logprobs"]["token_logprobs"] = [None, *(score - 0.004 for score in scores[1:])]
        return found

    stub.change = nudged
    stub.requests.clear()
    assert bench(stub, tmp_path, "--decoders", "greedy") == 0
    assert all(each.get("echo") for each in stub.requests)  # nothing was written again
    assert read_config(tmp_path)["run"]["fingerprint"] == before


def test_decoders_that_the_server_lacks_fail_by_name_and_leave_the_others(stub: Stub, tmp_path: Path) -> None:
    assert bench(stub, tmp_path, "--decoders", "typical", "greedy", "dola") == 1
    assert {each["decoder"] for each in read_generations(tmp_path)} == {"greedy"}
    failed = {each["decoder"]: each["error"] for each in read_failures(tmp_path)}
    assert "take nucleus or min_p there" in failed["typical"]
    assert "reads the model's early layers" in failed["dola"]


def test_speed_is_labelled_as_the_servers(stub: Stub, tmp_path: Path) -> None:
    assert bench(stub, tmp_path, "--decoders", "greedy", "nucleus", "--metrics", "speed") == 0
    assert {each["concurrency"] for each in read_speed(tmp_path)} == {3}
    shown = markdown(read_results(tmp_path))
    assert "server tokens/s" in shown
    assert "of the server's throughput, network and queue included, concurrency 3" in shown
    assert "A server wrote the texts (`vllm`)" in shown


def test_no_key_and_no_address_is_in_what_is_written(model: StubModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_KEY", "sk-secret")
    with serving(Stub(model, key="sk-secret")) as stub:
        assert bench(stub, tmp_path, "--decoders", "greedy", "--metrics", "speed", "--api-key-env", "OWN_KEY") == 0
        port = stub.url.split(":")[-1]
    for path in tmp_path.rglob("*.json*"):
        assert "sk-secret" not in path.read_text()
        assert f"127.0.0.1:{port}" not in path.read_text()


def test_without_a_tokenizer_texts_have_no_references(stub: Stub, tmp_path: Path) -> None:
    assert bench(stub, tmp_path, "--decoders", "greedy", tokenizer=False) == 0
    found = read_generations(tmp_path)
    assert [each["reference"] for each in found] == [None] * 4
    assert all(each["tokens"] == 6 for each in found)


def test_generate_prints_and_a_file_goes_on(stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "The whale rose", *server_of(stub), "--decoder", "greedy", "--max-new-tokens", "6"]) == 0
    served = capsys.readouterr().out
    here = ["--model", str(AMATEUR), "--device", "cpu", "--decoder", "greedy", "--max-new-tokens", "6"]
    assert main(["generate", "The whale rose", *here]) == 0
    assert served == capsys.readouterr().out
    prompts, output = tmp_path / "prompts.txt", tmp_path / "texts.jsonl"
    prompts.write_text("The whale rose\nShe was\nIt was\n", encoding="utf-8")
    words = ["generate", "--file", str(prompts), "--output", str(output), *server_of(stub), "--decoder", "nucleus"]
    words += ["--max-new-tokens", "5"]
    assert main(words) == 0
    whole = output.read_text()
    output.write_text("".join(whole.splitlines(keepends=True)[:1]))
    stub.requests.clear()
    assert main(words) == 0
    texts = [json.loads(line)["text"] for line in whole.splitlines()]
    assert [json.loads(line)["text"] for line in output.read_text().splitlines()] == texts
    assert sum("seed" in each for each in stub.requests) == 3  # the batch of what was missing; what was there stays


def test_candidates_are_chosen_by_a_ranker_here(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--decoder", "best_of:ranker=likelihood,candidates=4", "--max-new-tokens", "5", "--json"]
    assert main(["generate", "The whale rose", *server_of(stub), *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["candidates"]) == len(found["scores"]) == 4
    assert found["scores"] == sorted(found["scores"], reverse=True)
    assert found["text"] == found["candidates"][0]
    assert {each["n"] for each in stub.requests if "n" in each} == {4}


def test_rerank_by_the_servers_likelihood_is_rerank_by_the_models(
    stub: Stub, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "candidates.jsonl"
    file.write_text(json.dumps({"prompt": "The whale rose", "candidates": [" in the sea.", " quite by accident", " and"]}) + "\n")
    for form in ("log_likelihood", "per_token", "pmi"):
        words = ["rerank", "--file", str(file), "--ranker", "likelihood", f"form={form}", "--json"]
        assert main([*words, *server_of(stub)]) == 0
        served = json.loads(capsys.readouterr().out)
        assert main([*words, "--model", str(AMATEUR), "--device", "cpu"]) == 0
        own = json.loads(capsys.readouterr().out)
        assert served["order"] == own["order"]
        assert served["scores"] == pytest.approx(own["scores"], abs=1e-3)


WRONG = {
    ("--base-url", "http://127.0.0.1:1/v1"): "--base-url goes with a server: add --engine openai",
    ("--engine", "openai"): "--engine openai needs the server's address",
    ("--engine", "openai", "--base-url", "http://127.0.0.1:1"): "--engine openai needs --model NAME",
    ("--engine", "openai", "--base-url", "u", "--model", "m", "--dtype", "float32"): "--dtype float32 is the server's",
}


@pytest.mark.parametrize("words", WRONG)
@pytest.mark.parametrize("command", ["generate", "bench"])
def test_wrong_usage_is_refused_at_once(command: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, *(["The whale"] if command == "generate" else []), *words]) == 2
    assert WRONG[words] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--api-key-env", "NO_SUCH_VARIABLE"], "--api-key-env NO_SUCH_VARIABLE: the environment has no such variable"),
        (["--tokenizer", "/nowhere"], "--tokenizer /nowhere"),
        (["--decoder", "typical"], "take nucleus or min_p there"),
        (["--decoder", "best_of:ranker=judge"], "judge reads whole distributions"),
        (["--decoder", "ranked_search:ranker=overlap,round_ends=."], "round_ends='.' is not sent to a server"),
        (["--decoder", "best_of:ranker=overlap,repetition_penalty=1.2"], "repetition_penalty=1.2 is not sent to a server"),
    ],
)
def test_what_cannot_be_done_is_one_line(stub: Stub, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "The whale", *server_of(stub), *words, "--max-new-tokens", "3"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
