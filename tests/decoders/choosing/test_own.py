"""Somebody's own decoders, from files and modules: described by their signatures, filled in, refused where they must not run."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders import PromptAmateur, decoder, score
from counterpoint.decoders.amateurs import head_lists
from counterpoint.decoders.choosing.front_door import scoring_processors
from counterpoint.decoders.choosing.rows import AMATEUR
from counterpoint.decoders.choosing.specs import parse
from counterpoint.decoders.named import TABLE
from counterpoint.eval.choosing import parse_decoder

OWN = '''
"""Decoders of somebody."""

import torch
from transformers import LogitsProcessor


class Shout(LogitsProcessor):
    """Makes one token likelier."""

    def __init__(self, token: int = 5, boost: float = 3.0, name: str = "x", quiet: bool = False, extra=None):
        self.token, self.boost = token, 0.0 if quiet else boost

    def __call__(self, input_ids, scores):
        scores = scores.clone()
        scores[:, self.token] += self.boost
        return scores


class Filled(LogitsProcessor):
    """Asks for everything."""

    def __init__(self, model, tokenizer, amateur, prompts, weight=1.0):
        self.seen = (model, tokenizer, amateur, prompts, weight)

    def __call__(self, input_ids, scores):
        return scores


class Needs(LogitsProcessor):
    def __init__(self, rate):
        self.rate = rate

    def __call__(self, input_ids, scores):
        return scores


def constant(model, input_ids, generation_config, stopping_criteria, tokenizer, token=7, **kwargs):
    """Writes one token again and again."""
    while not all(stopping_criteria(input_ids, None)):
        input_ids = torch.cat([input_ids, torch.full((len(input_ids), 1), token)], dim=1)
    return input_ids


NUMBER = 3
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with decoders."""
    path = tmp_path / "mine.py"
    path.write_text(OWN, encoding="utf-8")
    return path


def test_a_class_in_a_file(file: Path, amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    spec = parse(f"{file}:Shout:token=9,boost=2", TABLE)
    assert dict(spec.values) == {
        **{"token": 9, "boost": 2.0, "name": "x", "quiet": False, "extra": None},
        **{"do_sample": False, "temperature": 1.0, "top_k": 0, "top_p": 1.0},
    }
    assert spec.row.origin.startswith("sha256 ")
    assert parse(str(spec), TABLE) == spec
    inputs = tokenizer("The whale", return_tensors="pt")
    ids = amateur.generate(**inputs, **decoder(f"{file}:Shout:token=9,boost=1000", amateur), max_new_tokens=3)  # type: ignore[operator]
    assert ids[0, -3:].tolist() == [9, 9, 9]
    processors = scoring_processors(spec, amateur, tokenizer)
    ((shouted,),), ((plain,),) = (score(amateur, tokenizer, [[5, 6]], [[[9]]], each) for each in (processors, None))
    assert shouted.total > plain.total
    assert decoder(f"{file}:Shout:do_sample=true", amateur)["do_sample"] is True


def test_arguments_are_filled_in(file: Path, amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    found = decoder(f"{file}:Filled", amateur, tokenizer, amateur=amateur, prompts=["x"], weight=2)
    (processor,) = found["logits_processor"]
    assert processor.seen == (amateur, tokenizer, amateur, ["x"], 2.0)
    assert set(AMATEUR) < set(parse(f"{file}:Filled", TABLE).values)
    after = decoder(f"{file}:Filled:amateur_prompt=Once.", amateur, tokenizer, prompts=["x"])["logits_processor"][0].seen[2]
    assert isinstance(after, PromptAmateur)
    with pytest.raises(ValueError, match="needs tokenizer="):
        decoder(f"{file}:Filled", amateur, amateur=amateur, prompts=["x"])
    with pytest.raises(ValueError, match="no amateur: give amateur="):
        decoder(f"{file}:Filled", amateur, tokenizer, prompts=["x"])


def test_a_callable(file: Path, amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    inputs = tokenizer("The whale", return_tensors="pt")
    ids = amateur.generate(**inputs, **decoder(f"{file}:constant:token=4", amateur, tokenizer), max_new_tokens=3)  # type: ignore[operator]
    assert ids[0, -3:].tolist() == [4, 4, 4]
    with pytest.raises(ValueError, match="the probability of a text is undefined"):
        scoring_processors(parse(f"{file}:constant", TABLE), amateur, tokenizer)


def test_a_module_of_the_current_folder(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = file.parent / "somebodys"
    package.mkdir()
    file.rename(package / "own.py")
    monkeypatch.chdir(file.parent)
    spec = parse("somebodys.own:Shout", TABLE)
    assert spec.row.origin.startswith("sha256 ")
    assert str(file.parent) not in sys.path
    assert spec.row.summary == "Makes one token likelier."


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("{file}:Quiet", "mine.py has no Quiet; it has .*Shout"),
        ("{file}:NUMBER", "is neither a class of LogitsProcessor nor a function"),
        ("{file}:Shout:volume=2", "has no 'volume'.*; it takes: token, boost"),
        ("{file}:Shout:boost=high", "boost=high is not a number"),
        ("{file}:Needs", "needs rate: "),
        ("absent.py:Shout", "absent.py: no such file"),
        ("absent.module:Shout", "absent.module: no such module"),
    ],
)
def test_what_is_wrong_is_named(file: Path, choice: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(choice.format(file=file), TABLE)


def test_it_does_not_run_where_it_must_not(file: Path) -> None:
    trap = file.with_name("trap.py")
    trap.write_text("raise SystemExit('it ran')", encoding="utf-8")
    with pytest.raises(ValueError, match="runs only where a command line or Python names it"):
        parse(f"{trap}:Any", TABLE, own=False)


def test_a_file_is_read_only_where_the_user_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a request or a stored choice names is looked at by nobody, alone or in a choice within another."""
    heads = tmp_path / "heads.json"
    heads.write_text('{"0-0": [1.0]}', encoding="utf-8")
    looked: list[Path] = []
    monkeypatch.setattr(head_lists, "read_heads", lambda path: looked.append(path) or {(0, 0): 1.0})
    for choice in (f"decore:heads={heads},count=1", f"best_of:proposals=[decore:heads={heads},count=1]"):
        with suppress(ValueError):  # decore draws nothing, which best_of wants
            parse_decoder(choice, own=False)
        assert looked == []
    parse(f"decore:heads={heads},count=1", TABLE)
    assert looked == [heads]


def test_a_changed_file_is_another(file: Path, amateur: PreTrainedModel) -> None:
    before = parse(f"{file}:Shout", TABLE)
    file.write_text(OWN.replace("boost: float = 3.0", "boost: float = 4.0"), encoding="utf-8")
    after = parse(f"{file}:Shout", TABLE)
    assert before.row.origin != after.row.origin
    assert (before.values["boost"], after.values["boost"]) == (3.0, 4.0)
    (processor,) = decoder(f"{file}:Shout", amateur)["logits_processor"]
    assert processor.boost == 4.0
