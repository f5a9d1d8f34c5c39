"""Input that is no text, no JSON, no CSV or no number: in every command one line that has file and line, and no model is loaded."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from counterpoint.eval import AMATEUR
from counterpoint.eval.cli import main as main_module
from counterpoint.eval.cli.errors import CommandError
from counterpoint.eval.cli.main import main
from counterpoint.eval.cli.options import port
from counterpoint.eval.cli.terminal import printing_to, write
from counterpoint.eval.inputs import csv_rows, json_value, lines_or_records

DEEP = '{"prompt": ' + "[" * 100_000
LARGE = "x" * 200_000
HALF = '{"prompt": "a \\ud83d", "candidates": [" b"]}'
COMMANDS = {
    "generate": ["generate", "--file", "{}"],
    "bench": ["bench", "--output-dir", "{folder}", "--file", "{}"],
    "score": ["score", "{}"],
    "rerank": ["rerank", "--ranker", "overlap", "--file", "{}"],
    "induce": ["induce", "--output-dir", "{folder}", "--file", "{}"],
    "train-ranker": ["train-ranker", "--output-dir", "{folder}", "--model", "{folder}", "--file", "{}"],
    "truthfulqa": ["truthfulqa", "--output-dir", "{folder}", "--file", "{}"],
    "factor": ["factor", "--output-dir", "{folder}", "--file", "{}"],
}
JSON_COMMANDS, CSV_COMMANDS = (
    ["generate", "bench", "score", "rerank", "induce"],
    ["generate", "bench", "induce", "truthfulqa", "factor"],
)
WRONG_JSON = {
    "broken": ('{"prompt": "a"', "line 2: not a JSON object"),
    "a text": ("It was", "line 2: not a JSON object"),
    "deep": (DEEP, "line 2: nested too deeply"),
    "half a character": (HALF, "line 2: holds half of a character, '\\ud83d'"),
    "half of a candidate": ('{"prompt": "a", "candidates": [" b \\ud83d"]}', "line 2: holds half of a character"),
    "too large": ('{"prompt": "a", "id": 1e999}', "line 2: the number 1e999 is out of a float's range"),
    "no number": ('{"prompt": "a", "id": NaN}', "line 2: NaN is not a number of JSON"),
    "a number of 5,000 digits": ('{"prompt": "a", "id": ' + "9" * 5000 + "}", "has 5000 digits"),
    "a name twice": ('{"prompt": "a", "prompt": "b"}', "line 2: 'prompt' stands there twice"),
    "bytes": ("Caf\udce9", "line 2: not UTF-8 text"),
}
WRONG_CSV = {
    "large cell": (f'prompt,other\n"{LARGE}",b\n', "row 2: field larger than field limit (131072)"),
    "header twice": ("prompt,prompt\na,b\n", "row 1: column 'prompt' stands there twice"),
}
GOOD = '{"prompt": "It was", "candidates": [" b", " c"], "question": "a", "answer": "b"}'


def failure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    """The one line of a command that fails before a model is loaded."""
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *arguments, **options: pytest.fail("a model is loaded"))
    code = main(words)
    captured = capsys.readouterr()
    assert code in (1, 2)
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert not any(name in captured.err for name in ("--debug shows where", "UnicodeDecodeError", "codec can't"))
    return captured.err


def words_of(command: str, file: Path, folder: Path) -> list[str]:
    """A command that reads a file."""
    return [word.format(file, folder=folder) for word in COMMANDS[command]]


@pytest.mark.parametrize("command", JSON_COMMANDS)
@pytest.mark.parametrize("kind", WRONG_JSON)
def test_json_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, kind: str
) -> None:
    line, message = WRONG_JSON[kind]
    file = tmp_path / "lines.jsonl"
    file.write_bytes(f"{GOOD}\n{line}\n".encode(errors="surrogateescape"))
    found = failure(capsys, monkeypatch, *words_of(command, file, tmp_path / "out"))
    assert message in found
    assert "lines.jsonl" in found
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("place", "reason"), [("absent", "No such file"), ("folder", "Is a directory"), ("loop", "Too many levels")]
)
@pytest.mark.parametrize("command", ["generate", "score", "rerank", "induce", "train-ranker"])
def test_files_that_cannot_be_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, place: str, reason: str
) -> None:
    """The error names the argument as the command has it."""
    (tmp_path / "folder" / "a.txt").mkdir(parents=True)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    found = failure(capsys, monkeypatch, *words_of(command, tmp_path / place, tmp_path / "out"))
    named = "folder/a.txt" if (command, place) == ("train-ranker", "folder") else place  # a folder that is called as texts are
    assert f"{'FILE' if command == 'score' else '--file'} {tmp_path / named}: {reason}" in found
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("dola:layers=hgh", "layers=hgh are not layers: give low or high, or numbers"),
        ("decore", "decore needs heads=FILE"),
        ("decore:heads={folder}/absent.json", "no such file"),
        ("decore:heads={folder}", "no such file"),
        ("decore:heads={folder}/heads.json", "count=50: {folder}/heads.json has 1 heads"),
        ("decore:heads={folder}/deep.json", "is not a file of heads"),
        ("decore:heads=1-0,mask=none", "mask=none is not one of uniform, zero"),
        ("best_of:ranker=[likelihood:form=mean]", "form=mean is not one of log_likelihood, per_token, pmi"),
    ],
)
@pytest.mark.parametrize("command", ["generate", "bench"])
def test_choices_that_are_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, choice: str, message: str
) -> None:
    """Words and files that a decoder's parameters name are looked at before a model is loaded, by ``--dry-run`` too."""
    (tmp_path / "heads.json").write_text('{"0-1": [0.5]}', encoding="utf-8")
    (tmp_path / "deep.json").write_text("[" * 100_000, encoding="utf-8")
    words = {"generate": ["generate", "It", "--decoder"], "bench": ["bench", "--dry-run", "--decoders"]}[command]
    found = failure(capsys, monkeypatch, *words, choice.format(folder=tmp_path))
    assert message.format(folder=tmp_path) in found


@pytest.mark.parametrize("command", CSV_COMMANDS)
@pytest.mark.parametrize("kind", WRONG_CSV)
def test_csv(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, kind: str) -> None:
    content, message = WRONG_CSV[kind]
    (tmp_path / "table.csv").write_text(content, encoding="utf-8")
    found = failure(capsys, monkeypatch, *words_of(command, tmp_path / "table.csv", tmp_path / "out"))
    assert f"table.csv, {message}" in found


NO_TEXTS = {
    "t.txt": ("", "none of the documents has two passages"),
    "blank.txt": (" \n\n", "none of the documents has two passages"),
    "zeros.txt": ("\0" * 500, "none of the documents has two passages"),
    "half.txt": ("A \ud83d B.", "half.txt is not UTF-8 text"),
    "t.jsonl": (GOOD, "t.jsonl has records: plain texts are needed"),
    "t.csv": ("text\nIt was.\n", "t.csv has records"),
}


@pytest.mark.parametrize("name", NO_TEXTS)
def test_texts_to_train_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    content, message = NO_TEXTS[name]
    (tmp_path / name).write_bytes(content.encode(errors="surrogatepass"))
    words = words_of("train-ranker", tmp_path / name, tmp_path / "out")
    assert message in failure(capsys, monkeypatch, *words)
    if not message.startswith("none"):  # texts to measure on are looked at before there is anything to train on
        held_out = failure(capsys, monkeypatch, *words[:-1], os.devnull, "--held-out-file", str(tmp_path / name))
        assert f"error: --held-out-file {tmp_path}" in held_out
        assert message in held_out
    assert not (tmp_path / "out").exists()


EMPTY = {"a.jsonl": "", "a.csv": "question,answer\n", "a.txt": "\n \n", "marked.txt": "\ufeff"}


@pytest.mark.parametrize("command", ["generate", "induce"])
@pytest.mark.parametrize("name", EMPTY)
def test_files_with_nothing_in_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, name: str
) -> None:
    (tmp_path / name).write_text(EMPTY[name], encoding="utf-8")
    found = failure(capsys, monkeypatch, *words_of(command, tmp_path / name, tmp_path / "out"))
    assert re.search(f"{name}( is empty: write|: no prompts in it; write)", found)


def test_formats_are_what_the_extension_says() -> None:
    assert lines_or_records("prompt,id\nIt was,1\n", "a.csv") == [("a.csv, row 2", {"prompt": "It was", "id": "1"})]
    assert lines_or_records('{"prompt": "a"}\n', "a.txt") == [("a.txt, line 1", '{"prompt": "a"}')]
    assert lines_or_records('{"prompt": "a"}\n', "a") == [("a, line 1", {"prompt": "a"})]
    with pytest.raises(ValueError, match=r"a.jsonl, line 1: not a JSON object \(Expecting value at character 0\)"):
        lines_or_records("It was\n", "a.jsonl")
    assert csv_rows('a,b\n"c\nd",e\n', "x") == [["a", "b"], ["c\nd", "e"]]
    assert json_value('{"a": [1, 2.5, null, "é"]}', "x") == {"a": [1, 2.5, None, "é"]}


YAML = {
    "limit: [1, 2]": "limit is list '[1, 2]': one value is needed",
    "max-new-tokens: {a: 1}": "max-new-tokens is dict",
    "decoders: {greedy: 1}": "decoders is dict",
    "quiet: maybe": "quiet is 'maybe': true or false is needed",
    "limit: true": "limit is True: a value is needed",
    "a: &a [x, x]\nb: &b [*a, *a]\ndecoders: [*b, *b]": "an alias (*NAME) in it",
    "decoders: " + "[" * 100_000: "nested too deeply",
    "- greedy": "the file is not a mapping of options",
    'file: "a \\ud83d"': "half of a character",
    "num-seeds: 1e999": "'1e999' is not a whole number",
    "num-seeds: 9999999999999999999999": "a number of 22 digits is too large",
    "decoders: [greedy, [a]]": "decoders is list",
    "decoders: greedy,nucleus": "several decoders stand side by side: --decoders greedy nucleus",
}


@pytest.mark.parametrize("content", YAML)
def test_option_files(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str) -> None:
    (tmp_path / "o.yaml").write_text(content, encoding="utf-8")
    assert YAML[content] in failure(
        capsys, monkeypatch, "bench", "--config", str(tmp_path / "o.yaml"), "--output-dir", str(tmp_path / "b")
    )


USAGE = [
    (["bench", "--decoders", "greedy,nucleus"], "--decoders: greedy,nucleus is one word; several decoders stand side by side"),
    (["bench", "--mauve-protocol", "nonsense"], "the protocols are counterpoint"),
    (["bench", "--metrics", "embedding_coherence"], "needs a sentence encoder: --embedder ID_OR_PATH"),
    (["bench", "--metrics", "mauv"], "did you mean mauve?"),
    (["bench", "--output-dir", __file__], "is a file: name a folder"),
    (["truthfulqa", "--output-dir", f"{__file__}/below"], "is a file: name a folder"),
    (["generate", "x", "--seed", "9" * 30], "a number of 30 digits is too large"),
    (["generate", "x", "--decoder", "nucleus", "temperature=1e999"], "temperature=1e999 is not a number"),
    (["generate", "x", "--decoder", "nucleus", f"temperature={'9' * 400}"], "is not a number"),
    (["generate", "Caf\udce9"], "is not UTF-8 text"),
    (["factor"], "--file is missing"),
    (["serve", "--port", "99999999"], "'99999999' is not a port: 0 to 65535"),
    (["serve", "--port", "65536"], "'65536' is not a port: 0 to 65535"),
    (["serve", "--port", "-1"], "'-1' is not a whole number of 0 or more"),
]


@pytest.mark.parametrize(("words", "message"), USAGE)
def test_wrong_usage_is_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    assert message in failure(capsys, monkeypatch, *words)
    assert main(words) == 2


def test_ports() -> None:
    assert [port("0"), port("65535")] == [0, 65535]


def test_models_of_metrics_are_asked_for_before_texts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from counterpoint.eval.bench import work

    monkeypatch.setattr(work, "generate_all", lambda run: pytest.fail("texts are generated"))
    (tmp_path / "empty").mkdir()
    for words, message in (
        (["--scorer", "./nowhere"], "model ./nowhere is neither a local folder"),
        (["--scorer", str(tmp_path / "empty")], "the folder is empty"),
        (["--metrics", "embedding_coherence", "--embedder", "./nowhere"], "--embedder ./nowhere: no model that can be loaded"),
        (["--featurizer", "./nowhere"], "--featurizer ./nowhere: no model that can be loaded"),
        (["--decoders", "contrastive_decoding:amateur=./nowhere"], "amateur=./nowhere is neither a local folder"),
        (["--decoders", "best_of:ranker=[rankgen:path=./nowhere]"], "path=./nowhere is neither a local folder"),
    ):
        assert main(["bench", "--model", str(AMATEUR), "--limit", "1", *words, "--output-dir", str(tmp_path / "out")]) in (1, 2)
        found = capsys.readouterr().err
        assert message in found
        assert found.count("\n") == 1
    assert not (tmp_path / "out" / "generations.jsonl").exists()


def test_a_metric_without_a_figure_fails(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One token has no 4-gram: the texts are kept, and the table says why."""
    command = [
        "bench",
        "--model",
        str(AMATEUR),
        "--device",
        "cpu",
        "--decoders",
        "greedy",
        "--limit",
        "2",
        "--max-new-tokens",
        "1",
        "--quiet",
    ]
    assert main([*command, "--output-dir", str(tmp_path), "--metrics", "diversity"]) == 1
    assert "--metrics diversity has no figure for greedy: undefined for these texts" in capsys.readouterr().err
    assert "undefined for these texts" in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert main(["bench", "score", str(tmp_path), "--quiet"]) == 1
    assert main([*command, "--output-dir", str(tmp_path / "unasked")]) == 0


def test_characters_that_an_encoding_lacks() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="counterpoint")
    main_module.tolerant_streams()
    stream.write(json.dumps({"text": "é 😀"}, ensure_ascii=False))
    stream.flush()
    written = stream.buffer.getvalue()  # type: ignore[attr-defined]
    assert written == b'{"text": "\\u00e9 \\ud83d\\ude00"}'
    assert json.loads(written) == {"text": "é 😀"}


@pytest.mark.parametrize("encoding", ["ascii", *(pytest.param(name, marks=pytest.mark.slow) for name in ("latin-1", "cp1252"))])
def test_output_under_a_narrow_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "c.jsonl").write_text('{"prompt": "今天天气 é😀", "candidates": [" 很好。", " b"]}\n', encoding="utf-8")
    command = [sys.executable, "-m", "counterpoint.eval.cli", "rerank", "--ranker", "overlap"]
    options = {"capture_output": True, "check": True, "env": {**os.environ, "PYTHONIOENCODING": encoding}}
    subprocess.run([*command, "--file", str(tmp_path / "c.jsonl")], **options)  # type: ignore[call-overload]
    with (tmp_path / "c.jsonl").open("rb") as file:
        found = subprocess.run([*command, "--json"], stdin=file, **options).stdout  # type: ignore[call-overload]
    assert json.loads(found.decode(encoding))["prompt"] == "今天天气 é😀"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_names_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(CommandError, match="--output /dev/full cannot be written: No space left on device"),
        printing_to(Path("/dev/full")),
    ):
        write("It was.")
    with pytest.raises(OSError, match="absent"), printing_to(Path(os.devnull)):  # of another file
        Path("absent/file").write_text("", encoding="utf-8")
