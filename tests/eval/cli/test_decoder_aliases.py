"""Options that set a parameter of the decoder that is named: the same as the parameter behind its name, or refused with that."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from counterpoint.decoders.named import PENALTIES
from counterpoint.eval import AMATEUR
from counterpoint.eval.choosing import parse_decoder
from counterpoint.eval.cli.bench.options import add_run_options, resolve
from counterpoint.eval.cli.bench.run import parse_decoders
from counterpoint.eval.cli.decoder_aliases import ALIASES, add_aliases, decoders_with, option_of, parse_named
from counterpoint.eval.cli.errors import UsageError
from counterpoint.eval.cli.main import main
from counterpoint.eval.cli.parser import Parser


def given(*words: str) -> argparse.Namespace:
    """The aliases of a command line."""
    parser = Parser()
    add_aliases(parser, "--decoder")
    return parser.parse_args(words)


@pytest.mark.parametrize("key", ALIASES)
def test_every_alias_is_a_parameter(key: str) -> None:
    assert decoders_with(key) or key in PENALTIES


@pytest.mark.parametrize(
    ("words", "aliases", "meant"),
    [
        (["nucleus"], ["--top-p", "0.9"], "nucleus:top_p=0.9"),
        (["nucleus:top_k=3"], ["--top-p", "0.9", "--temperature", "0.7"], "nucleus:top_k=3,top_p=0.9,temperature=0.7"),
        (["nucleus", "top_k=3"], ["--top-p=.9"], "nucleus:top_k=3,top_p=0.9"),
        (["beam"], ["--num-beams", "2"], "beam:num_beams=2"),
        (["contrastive_search"], ["--penalty-alpha", "0.4", "--top-k", "8"], "contrastive_search:penalty_alpha=0.4,top_k=8"),
        (["greedy"], ["--repetition-penalty", "1.2"], "greedy:repetition_penalty=1.2"),
        (["beam"], ["--num-beams", "3"], "beam:num_beams=3"),
    ],
)
def test_an_alias_is_the_parameter(words: list[str], aliases: list[str], meant: str) -> None:
    assert parse_named("--decoder", [words], given(*aliases)) == [parse_decoder([meant])]


@pytest.mark.parametrize(
    ("named", "aliases", "message"),
    [
        ([], ["--top-p", "0.9"], "--top-p 0.9 needs the name of its decoder: --decoder nucleus:top_p=0.9"),
        ([], ["--repetition-penalty", "2"], "--decoder greedy:repetition_penalty=2"),
        ([["greedy"]], ["--top-p", "0.9"], "decoder greedy has no top_p; decoders that have it: --decoder nucleus:top_p=0.9"),
        ([["sample"]], ["--num-beams", "2"], "decoder sample has no num_beams; decoders that have it: --decoder beam:num_beams=2"),
        ([["nucleus", "top_p=0.8"]], ["--top-p", "0.9"], "--decoder has top_p already"),
        ([["nucleus:top_k=2,top_p=0.8"]], ["--top-p", "0.9"], "--decoder has top_p already"),
        (
            [["greedy"], ["nucleus"], ["top_k:top_k=3"], ["sample:temperature=2.0"]],
            ["--top-k", "9"],
            "several decoders.*: --decoder greedy nucleus:top_k=9 top_k:top_k=3 sample:temperature=2.0,top_k=9$",
        ),
        ([["nucleus"]], ["--top-p", "high"], "top_p=high is not a number"),
        ([["nucleus"]], ["--top-p", "1.5"], "top_p=1.5 is not a number between 0 and 1"),
        ([["nuclues"]], ["--top-p", "0.9"], "did you mean nucleus"),
    ],
)
def test_what_is_refused_says_how_to_write_it(named: list[list[str]], aliases: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_named("--decoder", named, given(*aliases))


def test_the_spellings_that_are_offered_are_right() -> None:
    for key in ALIASES:
        with pytest.raises(UsageError) as error:
            parse_named("--decoder", [], given(option_of(key), value := "2" if key == "num_beams" else "1"))
        for spelling in str(error.value).partition(": ")[2].split(", "):
            (choice,) = parse_named("--decoder", [[spelling.removeprefix("--decoder ")]], given())
            assert choice.values[key] == int(value)


def test_bench_takes_them_from_the_command_line_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "bench.yaml"
    file.write_text("decoders: [nucleus]\ntop-p: 0.8\ntemperature: 0.5\n", encoding="utf-8")
    parser = Parser()
    add_run_options(parser)
    (choice,) = parse_decoders(resolve(parser.parse_args(["--config", str(file), "--top-p", "0.9"])))
    assert choice == parse_decoder(["nucleus:top_p=0.9,temperature=0.5"])
    with pytest.raises(UsageError, match=r"--top-p 0.9 needs the name of its decoder: --decoders nucleus:top_p=0.9"):
        parse_decoders(resolve(parser.parse_args(["--top-p", "0.9"])))


def test_generate_takes_them(capsys: pytest.CaptureFixture[str]) -> None:
    base = ["generate", "The whale", "--model", str(AMATEUR), "--device", "cpu", "--max-new-tokens", "8"]
    outputs = []
    for words in (["nucleus", "--top-p", "0.2"], ["nucleus:top_p=0.2"], ["nucleus"]):
        assert main([*base, "--decoder", *words]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]
    assert main([*base, "--compare", "greedy", "nucleus", "--top-p", "0.9"]) == 2
    assert "--compare greedy nucleus:top_p=0.9" in capsys.readouterr().err
