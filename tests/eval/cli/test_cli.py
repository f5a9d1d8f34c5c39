"""``counterpoint generate`` and ``export`` through ``main``, on the embedded amateur."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from counterpoint.decoders import contrastive_search
from counterpoint.eval import AMATEUR, diversity, rep_n
from counterpoint.eval.choosing import parse_decoder
from counterpoint.eval.cli.main import main
from counterpoint.eval.cli.terminal import BOLD, fits_columns, side_by_side, style
from counterpoint.eval.directories import written_alone
from counterpoint.eval.generation import TextStream, encode, generate
from counterpoint.eval.loading import Loaded, load
from counterpoint.rankers.continuation_texts import prompt_text

PROMPT = "The old man went to the window and"
SMALL = ["--model", str(AMATEUR), "--device", "cpu", "--max-new-tokens", "24"]


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    """The amateur."""
    return load(str(AMATEUR), "cpu", "auto", trust_remote_code=False)


def output_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Standard output of a command that succeeds and complains of nothing."""
    assert main(["generate", *arguments, *SMALL]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def records(output: str) -> list[dict[str, Any]]:
    """The JSON objects of an output."""
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["greedy"], {"do_sample": False}),
        (["beam", "num_beams=3"], {"do_sample": False, "num_beams": 3}),
        (["contrastive_search"], {"custom_generate": contrastive_search, "penalty_alpha": 0.6, "top_k": 5}),
        (["top_k", "top_k=9"], {"do_sample": True, "top_k": 9}),
    ],
)
def test_text_is_that_of_generate(capsys: pytest.CaptureFixture[str], words: list[str], arguments: dict[str, Any]) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(AMATEUR)
    tokenizer: Any = AutoTokenizer.from_pretrained(AMATEUR)
    inputs = tokenizer(PROMPT, return_tensors="pt")
    torch.manual_seed(5)
    ids = model.generate(**inputs, max_new_tokens=24, **arguments)
    expected = tokenizer.decode(ids[0], skip_special_tokens=True)
    capsys.readouterr()  # transformers' own progress bars
    assert output_of(capsys, PROMPT, "--seed", "5", "--decoder", *words) == expected + "\n"


def test_the_default_decoder_is_contrastive_search(capsys: pytest.CaptureFixture[str]) -> None:
    assert output_of(capsys, PROMPT) == output_of(capsys, PROMPT, "--decoder", "contrastive_search")
    assert output_of(capsys, PROMPT) != output_of(capsys, PROMPT, "--decoder", "greedy")


def test_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    first, again, other = (output_of(capsys, PROMPT, "--decoder", "sample", "--seed", seed) for seed in ("1", "1", "2"))
    assert first == again != other


def test_a_text_does_not_depend_on_the_prompts_before(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text(f"It was\n{PROMPT}\n", encoding="utf-8")
    both = output_of(capsys, "--file", str(file), "--decoder", "sample")
    alone = output_of(capsys, PROMPT, "--decoder", "sample")
    assert both.startswith("It was")
    assert both.endswith("\n\n" + alone)


def test_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(PROMPT + "\n"))
    assert output_of(capsys, "--decoder", "greedy") == output_of(capsys, PROMPT, "--decoder", "greedy")


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    (record,) = records(output_of(capsys, PROMPT, "--json", "--decoder", "nucleus", "top_p=0.8", "--seed", "3"))
    text = output_of(capsys, PROMPT, "--decoder", "nucleus", "top_p=0.8", "--seed", "3")
    assert PROMPT + record["text"] + "\n" == text
    assert record["tokens_per_second"] > 0
    assert {key: record[key] for key in record if key not in ("text", "tokens_per_second", "versions")} == {
        "prompt": PROMPT,
        "decoder": "nucleus",
        "parameters": {"top_p": 0.8, "top_k": 0, "temperature": 1.0},
        "tokens": 24,
        **{f"rep_{n}": rep_n([record["text"]], n) for n in (2, 3, 4)},
        "diversity": diversity([record["text"]]),
        "seed": 3,
        "model": str(AMATEUR),
        "dtype": "float32",
        "device": "cpu",
    }
    assert record["versions"].keys() == {"counterpoint", "transformers", "torch", "python"}


def test_json_of_a_short_text_has_nulls(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", PROMPT, *SMALL, "--json", "--max-new-tokens", "2"]) == 0
    (record,) = records(capsys.readouterr().out)
    assert record["tokens"] == 2
    assert record["rep_3"] is record["rep_4"] is record["diversity"] is None


def test_dtype(capsys: pytest.CaptureFixture[str]) -> None:
    (record,) = records(output_of(capsys, PROMPT, "--json", "--dtype", "bfloat16"))
    assert record["dtype"] == "bfloat16"


def test_compare_one_under_the_other(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    output = output_of(capsys, PROMPT, "--compare", "greedy", "contrastive_search:top_k=4")
    greedy, contrastive = (
        output_of(capsys, PROMPT, "--decoder", *words).removeprefix(PROMPT)
        for words in (["greedy"], ["contrastive_search", "top_k=4"])
    )
    measures = r"24 tokens, [\d.]+ tokens/s, rep-2 [\d.]+%, rep-4 [\d.]+%, diversity [\d.]+\n"
    expected = (
        f"{re.escape(PROMPT)}\n\ngreedy\n{re.escape(greedy)}{measures}\n"
        rf"contrastive_search:penalty_alpha=0\.6,top_k=4\n{re.escape(contrastive)}{measures}"
    )
    assert re.fullmatch(expected, output)


def test_compare_in_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    lines = output_of(capsys, PROMPT, "--compare", "greedy", "nucleus:top_k=3").splitlines()
    assert lines[:2] == [PROMPT, ""]
    assert re.fullmatch(r"greedy {5,}nucleus:top_p=0.95,top_k=3,temperature=1.0", lines[2])
    assert max(map(len, lines)) <= 110
    assert sum(line.count("24 tokens") for line in lines) == 2


def test_compare_in_json_is_one_object_each(capsys: pytest.CaptureFixture[str]) -> None:
    output = output_of(capsys, PROMPT, "--json", "--compare", "greedy", "adaptive_contrastive_search", "typical", "min_p")
    assert [record["decoder"] for record in records(output)] == ["greedy", "adaptive_contrastive_search", "typical", "min_p"]


@pytest.mark.parametrize("decoder", ["greedy", "sample", "contrastive_search", "adaptive_contrastive_search", "beam"])
def test_streamed_pieces_are_the_text(loaded: Loaded, decoder: str) -> None:
    pieces: list[str] = []
    choice = parse_decoder([decoder])
    generated = generate(loaded, encode(loaded, PROMPT, 24), 24, 0, choice, pieces.append)
    assert "".join(pieces) == generated.text
    assert len(pieces) == 1 if decoder == "beam" else len(pieces) > 12


def test_characters_are_not_cut(loaded: Loaded) -> None:
    text = "naïve 日本語 🐋 done"
    prompt, new = loaded.tokenizer("It was")["input_ids"], loaded.tokenizer(text)["input_ids"]
    pieces: list[str] = []
    stream = TextStream(loaded.tokenizer, prompt, pieces.append)
    stream.put(torch.tensor([prompt]))
    for token in new:
        stream.put(torch.tensor([token]))
    stream.end()
    assert len(new) > len(pieces)
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_the_rest_of_a_character_that_a_prompt_is_cut_in_is_text(loaded: Loaded) -> None:
    prompt = loaded.tokenizer("The sea")["input_ids"]
    ids = loaded.tokenizer("The sea \N{WATER WAVE} rose")["input_ids"]
    for cut in range(len(prompt) + 1, len(ids)):
        pieces: list[str] = []
        stream = TextStream(loaded.tokenizer, ids[:cut], pieces.append)
        stream.put(torch.tensor([ids[:cut]]))
        for token in ids[cut:]:
            stream.put(torch.tensor([token]))
        stream.end()
        assert prompt_text(loaded.tokenizer, ids[:cut]) + "".join(pieces) == "The sea \N{WATER WAVE} rose"


class Impatient(io.StringIO):
    """Standard output whose user presses Ctrl-C after some writes."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.writes = writes

    def write(self, text: str) -> int:
        """Write, until patience runs out."""
        self.writes -= bool(text.strip())
        if text.strip() and self.writes == 0:
            raise KeyboardInterrupt
        return super().write(text)


@pytest.mark.parametrize("writes", [3, 9])
def test_an_interrupted_stream_keeps_what_was_written(capsys: pytest.CaptureFixture[str], writes: int) -> None:
    whole = output_of(capsys, PROMPT)
    with contextlib.redirect_stdout(Impatient(writes)) as output:
        assert main(["generate", PROMPT, *SMALL]) == 130
    kept = output.getvalue()
    assert kept.endswith("\n")
    assert len(PROMPT) < len(kept) < len(whole)
    assert whole.startswith(kept[:-1])


def test_interrupted_columns_keep_what_is_done(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    calls = []

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            arguments[-1]("half a text")
            raise KeyboardInterrupt
        return generate(*arguments)

    monkeypatch.setattr("counterpoint.eval.generation.generate", interrupted)
    assert main(["generate", PROMPT, "--compare", "greedy", "top_k", *SMALL]) == 130
    output = capsys.readouterr().out
    assert "24 tokens" in output
    assert "half a text" in output


def test_a_decoder_that_refuses_the_model_does_so_before_a_file_is_touched(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("what was there")
    assert main(["generate", PROMPT, "--compare", "greedy", "dola:layers=99", *SMALL, "--output", str(file)]) == 1
    assert file.read_text() == "what was there"


def test_transformers_settings_are_restored(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    output_of(capsys, PROMPT)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_a_models_own_sampling_settings_do_not_leak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in AMATEUR.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = json.loads((AMATEUR / "generation_config.json").read_text(encoding="utf-8"))
    settings |= {"do_sample": True, "temperature": 9.0, "repetition_penalty": 5.0, "top_p": 0.1}
    (tmp_path / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    for decoder in ("greedy", "sample"):
        assert main(["generate", PROMPT, *SMALL, "--model", str(tmp_path), "--decoder", decoder]) == 0
        assert capsys.readouterr().out == output_of(capsys, PROMPT, "--decoder", decoder)


class Terminal(io.StringIO):
    """Output that people look at."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_styles_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    with contextlib.redirect_stdout(io.StringIO()):
        assert style("text", BOLD) == "text"
    with contextlib.redirect_stdout(Terminal()):
        assert style("text", BOLD) == "\x1b[1mtext\x1b[0m"
        monkeypatch.setenv("NO_COLOR", "1")
        assert style("text", BOLD) == "text"


def test_columns() -> None:
    assert side_by_side(["one two three", "four\n\nfive"], 15) == "one      four\ntwo\nthree    five"
    assert fits_columns(2, 100)
    assert not fits_columns(2, 99)
    assert not fits_columns(3, 100)
    assert not fits_columns(1, 300)


def test_export_writes_what_generate_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "decoder"
    assert main(["export", str(directory), "--decoder", "adaptive_contrastive_search"]) == 0
    assert capsys.readouterr() == (f"{directory}\n", "")
    assert "adaptive_contrastive_search" in (directory / "custom_generate" / "generate.py").read_text(encoding="utf-8")
    assert main(["export", str(directory)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(["export", str(directory), "--force"]) == 0
    assert "adaptive" not in (directory / "custom_generate" / "generate.py").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["export", str(tmp_path / "other"), "--decoder", "greedy"]) == 2
    assert "invalid choice: 'greedy'; choose from contrastive_search" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_export_has_its_folder_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with written_alone(tmp_path):
        assert main(["export", str(tmp_path)]) == 1
    assert "another command is writing it" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []
    (tmp_path / "file").touch()
    assert main(["export", str(tmp_path / "file")]) == 1
    assert "file is a file; name a folder" in capsys.readouterr().err
