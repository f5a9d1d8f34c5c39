"""Options and prompts of ``counterpoint bench``: a file of options, the sources of prompts, and what is said of wrong ones."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from counterpoint.eval import AMATEUR, EXPERT
from counterpoint.eval.bench.passages import PROMPTS, Pairs, Passage, cut, encode_passages, read_pairs
from counterpoint.eval.cli.bench.options import DEFAULTS, add_run_options, resolve
from counterpoint.eval.cli.bench.run import parse_decoders
from counterpoint.eval.cli.main import main
from counterpoint.eval.cli.parser import Parser
from counterpoint.eval.loading import Loaded, load


def options_of(*words: str) -> argparse.Namespace:
    """The options of a command line."""
    parser = Parser(allow_abbrev=False)
    add_run_options(parser)
    return resolve(parser.parse_args(words))


def test_defaults() -> None:
    assert vars(options_of()) == {**DEFAULTS, "command": "counterpoint bench"}
    names = [choice.name for choice in parse_decoders(options_of())]
    assert len(names) == 9
    assert "contrastive_decoding" in names
    assert "contrastive_decoding" not in [choice.name for choice in parse_decoders(options_of("--model", str(AMATEUR)))]


def test_a_file_of_options_and_the_command_line_above_it(tmp_path: Path) -> None:
    file = tmp_path / "bench.yaml"
    file.write_text(
        "decoders: [greedy, 'nucleus:top_p=0.9']\nmax-new-tokens: 12\nnum-seeds: 3\nquiet: true\njson: false\n"
        "file: null\noutput_dir: somewhere\n"
    )
    options = options_of("--config", str(file), "--num-seeds", "2")
    assert options.decoders == ["greedy", "nucleus:top_p=0.9"]
    assert (options.max_new_tokens, options.num_seeds, options.quiet, options.json) == (12, 2, True, False)
    assert (options.file, options.output_dir, options.batch_size) == (None, Path("somewhere"), DEFAULTS["batch_size"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("limits: 3", "unknown option 'limits' (did you mean limit?); known: model, decoders, file"),
        ("config: other.yaml", "unknown option 'config'"),
        ("num_seeds: 0", "argument --num-seeds: '0' is not a whole number of 1 or more; see counterpoint bench --help"),
        ("dtype: int8", "argument --dtype: invalid choice: 'int8'"),
        ("- greedy", "not a mapping of options"),
        ("a: [", "--config"),
        (None, "--config"),
    ],
)
def test_wrong_files(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "bench.yaml"
    if content is not None:
        file.write_text(content)
    assert main(["bench", "--config", str(file)]) in (1, 2)
    found = capsys.readouterr().err
    assert message in found
    assert found.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--decoders", "greedi"], 2, "unknown decoder 'greedi' (did you mean greedy?)"),
        (["--decoders", "greedy", "beam", "greedy"], 2, "--decoders: greedy is named twice"),
        (["run", "--limit", "0"], 2, "'0' is not a whole number of 1 or more"),
        (["rnu"], 2, "invalid choice: 'rnu'"),
        (["--file", "./absent.txt", "--device", "cpu"], 1, "--file ./absent.txt is"),
        (["--prompt-tokens", "500", "--device", "cpu"], 1, "no passage of"),
        (["--max-new-tokens", "500", "--device", "cpu"], 1, "exceed the model's context of 512"),
        (["--device", "cuda:99"], 2, "--device cuda:99 is not available"),
    ],
)
def test_wrong_options(capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    assert main(["bench", *arguments, *([] if arguments[0] == "rnu" else ["--output-dir", str(tmp_path / "new")])]) == code
    found = capsys.readouterr().err
    assert message in found
    assert found.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_what_there_is_to_choose_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "ls"]) == 0
    output = capsys.readouterr().out
    assert "contrastive_search" in output
    assert "penalty_alpha=0.6" in output


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    """The expert, without its weights."""
    return load(str(EXPERT), "cpu", "auto", trust_remote_code=False, device_map="meta")


def test_the_prompts_that_come_with_the_package() -> None:
    pairs = read_pairs(None)
    rows = [json.loads(line) for line in PROMPTS.read_text(encoding="utf-8").splitlines()]
    assert len(pairs.rows) == 200
    assert PROMPTS.stat().st_size < 300_000
    assert len({row["prompt"] for row in rows}) == 200
    assert {row["source"] for row in rows[:40]} == {row["source"] for row in rows}  # the first ones are of all sources
    for prompt, reference in pairs.rows:
        assert len(prompt.split()) == 20
        assert reference is not None
        assert reference.startswith(" ")
        assert len(reference.split()) == 120


def test_sources(tmp_path: Path) -> None:
    lines, objects = tmp_path / "prompts.txt", tmp_path / "prompts.jsonl"
    lines.write_text("\ufeffIt was\n\n{not json\r\n", encoding="utf-8")
    assert read_pairs(str(lines)).rows == [("It was", None), ("{not json", None)]
    objects.write_text('{"prompt": "a", "reference": " b"}\n\n{"text": "c"}\n', encoding="utf-8")
    assert read_pairs(str(objects)).rows == [("a", " b"), ("c", None)]
    assert read_pairs(str(lines)).sha256 != read_pairs(str(objects)).sha256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n \n", "no prompts in it"),
        ('{"prompt": "a"}\nb', r"line 2: not a JSON object \(Expecting value at character 0\)"),
        ('{"prompt": "a"}\n\n{"prompt": " "}', "line 3 is empty"),
        ('{"prompt": "a", "reference": 3}', 'line 1: "reference" is no text'),
    ],
)
def test_wrong_prompts(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "prompts"
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_pairs(str(file))


def test_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "corpus"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text(f'{{"text": "of {split}"}}\n{{"text": ""}}\n')
    assert read_pairs(str(folder)).rows == [("of test", None)]
    assert read_pairs(f"{folder}:default:train").rows == [("of train", None)]
    with pytest.raises(ValueError, match="no split 'dev'; it has train, test"):
        read_pairs(f"{folder}:default:dev")


def test_prompts_as_they_are(loaded: Loaded) -> None:
    passages = encode_passages(loaded, read_pairs(None), 3, None, 20)
    assert [passage.index for passage in passages] == [0, 1, 2]
    tokenizer: Any = loaded.tokenizer
    for passage, (prompt, reference) in zip(passages, read_pairs(None).rows, strict=False):
        assert passage.prompt == prompt
        assert list(passage.ids) == tokenizer(prompt)["input_ids"]
        assert reference is not None
        assert passage.reference == tokenizer.decode(tokenizer(reference)["input_ids"][:20])
        assert reference.startswith(passage.reference)


def test_passages_cut_after_so_many_tokens(loaded: Loaded) -> None:
    text = "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife."
    tokenizer: Any = loaded.tokenizer
    pairs = Pairs("here", [("too short", None), (text[:30], text[30:]), (text, None)])
    first, second = encode_passages(loaded, pairs, None, 6, 10)
    ids = tokenizer(text)["input_ids"]
    assert first == Passage(0, tokenizer.decode(ids[:6]), tokenizer.decode(ids[6:16]), tuple(ids[:6]))
    assert (second.index, second.ids, second.reference) == (1, first.ids, first.reference)
    assert len(encode_passages(loaded, pairs, 1, 6, 10)) == 1


@pytest.mark.parametrize("cut_at", range(2, 8))
def test_a_character_on_the_border_is_the_reference_s(loaded: Loaded, cut_at: int) -> None:
    text = "The sea \N{WATER WAVE}\N{SPOUTING WHALE} rose and fell, and rose again"
    passage = encode_passages(loaded, Pairs("here", [(text, None)]), None, cut_at, 8)[0]
    assert passage.reference is not None
    assert text.startswith(passage.prompt + passage.reference)
    assert len(passage.reference) > 1


def test_a_reference_keeps_its_first_space() -> None:
    class Stripping:
        """A tokenizer that drops a text's first space."""

        def __call__(self, text: str, **options: Any) -> dict[str, list[str]]:
            return {"input_ids": text.split()}

        def decode(self, ids: list[str], **options: Any) -> str:
            return " ".join(ids)

    assert cut(Stripping(), " one two three", 2) == " one two"
    assert cut(Stripping(), " one two", 2) == " one two"
    assert cut(Stripping(), None, 2) is None
