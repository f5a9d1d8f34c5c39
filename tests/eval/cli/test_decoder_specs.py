"""Decoders by name: their settings, and every way to get them wrong."""

from __future__ import annotations

import pytest

from counterpoint.decoders import adaptive_contrastive_search, contrastive_search
from counterpoint.eval.contrasts import BUILDERS
from counterpoint.eval.decoder_specs import DECODERS, SCORABLE, describe_decoders, parse_decoder
from counterpoint.eval.errors import UsageError
from counterpoint.eval.key_values import parse_value

FIELD_DEFAULTS = {
    "greedy": {"do_sample": False},
    "beam": {"do_sample": False, "num_beams": 4, "length_penalty": 1.0},
    "sample": {"do_sample": True, "temperature": 1.0, "top_k": 0},
    "nucleus": {"do_sample": True, "top_p": 0.95, "top_k": 0, "temperature": 1.0},
    "top_k": {"do_sample": True, "top_k": 50, "temperature": 1.0},
    "typical": {"do_sample": True, "typical_p": 0.95, "top_k": 0, "temperature": 1.0},
    "min_p": {"do_sample": True, "min_p": 0.1, "top_k": 0, "temperature": 1.0},
    **{name: {"do_sample": True, "top_p": 0.9, "top_k": 0, "temperature": 1.0} for name in ("best_of", "ranked_search")},
    "contrastive_search": {"do_sample": False, "penalty_alpha": 0.6, "top_k": 5, "custom_generate": contrastive_search},
    "adaptive_contrastive_search": {
        "do_sample": False,
        "entropy_scale": 1.0,
        "custom_generate": adaptive_contrastive_search,
    },
    **{name: {"do_sample": False} for name in BUILDERS},  # the rest is in their logits processors
}


@pytest.mark.parametrize("name", FIELD_DEFAULTS)
def test_defaults_are_the_fields(name: str) -> None:
    assert parse_decoder([name]).generate_arguments() == FIELD_DEFAULTS[name]


def test_every_decoder_is_covered_and_described() -> None:
    assert DECODERS.keys() == FIELD_DEFAULTS.keys()
    lines = describe_decoders().splitlines()[:-1]
    assert [line.split()[0] for line in lines if not line.startswith("    ")] == list(DECODERS)
    assert max(map(len, lines)) <= 132
    for decoder in DECODERS.values():
        assert not decoder.parameters or any(all(f"{key}=" in line for key in decoder.parameters) for line in lines)


@pytest.mark.parametrize(
    "words", [["nucleus", "top_p=0.9", "top_k=7"], ["nucleus:top_p=.9,top_k=7"], ["nucleus:top_p=9e-1", "top_k=7"]]
)
def test_both_spellings_give_the_same(words: list[str]) -> None:
    choice = parse_decoder(words)
    assert choice.values == {"top_p": 0.9, "top_k": 7, "temperature": 1.0}
    assert str(choice) == "nucleus top_p=0.9 top_k=7 temperature=1.0"


def test_penalties_are_passed_only_if_given() -> None:
    assert parse_decoder(["greedy", "repetition_penalty=1.2"]).generate_arguments() == {
        "do_sample": False,
        "repetition_penalty": 1.2,
    }


def test_a_ranked_decoder_takes_what_its_ranker_takes() -> None:
    choice = parse_decoder(["ranked_search:ranker=likelihood,form=pmi,samples=4", "top_p=0.8", "repetition_penalty=1.2"])
    assert choice.ranking() == {
        **{"ranker": "likelihood", "beams": 2, "samples": 4, "tokens_per_round": 20},
        **{"path": "", "form": "pmi"},
    }
    sampling = {"do_sample": True, "top_p": 0.8, "top_k": 0, "temperature": 1.0, "repetition_penalty": 1.2}
    assert choice.generate_arguments() == sampling
    assert str(choice) == (
        "ranked_search ranker=likelihood beams=2 samples=4 tokens_per_round=20 top_p=0.8 top_k=0 temperature=1.0 form=pmi "
        "repetition_penalty=1.2"
    )
    assert parse_decoder(["best_of", "form=pmi", "ranker=likelihood"]).values["form"] == "pmi"  # in any order


@pytest.mark.parametrize(
    ("text", "default", "value"),
    [
        ("3", 1, 3),
        ("3", 1.0, 3.0),
        ("1e-2", 1.0, 0.01),
        ("true", False, True),
        ("False", True, False),
        ("tree", "auto", "tree"),
    ],
)
def test_values_are_read_as_the_defaults_type(text: str, default: object, value: object) -> None:
    parsed = parse_value("key", text, default, {})  # type: ignore[arg-type]
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nuclues"], r"unknown decoder 'nuclues' \(did you mean nucleus\?\); known: greedy, .*, layer_fusion$"),
        (["xyzzy"], r"unknown decoder 'xyzzy'; known: greedy"),
        (["nucleus", "top_q=1"], r"nucleus has no 'top_q' \(did you mean top_p\?\); it takes: top_p, top_k, temperature, rep"),
        (["greedy", "Once upon"], r"'Once upon' is not key=value \(a prompt goes before"),
        (["top_k", "top_k=1.5"], r"top_k=1.5 is not a whole number; the default is top_k=50"),
        (["top_k", "top_k=true"], r"top_k=true is not a whole number"),
        (["top_k", "top_k="], r"top_k= is not a whole number"),
        (["nucleus", "top_p=high"], r"top_p=high is not a number; the default is top_p=0.95"),
        (["nucleus", "top_p=[1]"], r"top_p=\[1\] is not a number"),
        (["nucleus", "top_p=1.5"], r"top_p=1.5 is not a number between 0 and 1"),
        (["min_p", "min_p=nan"], r"min_p=nan is not a number"),
        (["sample", "temperature=-1"], r"temperature=-1 is not a number of 0 or more"),
        (["best_of", "ranker=smal"], r"unknown ranker 'smal' \(did you mean small\?\); known: small, rankgen, sentence"),
        (["best_of", "ranker=sentence"], r"ranker sentence needs a model: best_of:ranker=sentence,path=FOLDER_OR_ID$"),
        (
            ["ranked_search", "form=pmi"],
            r"ranked_search has no 'form'.*; it takes: ranker, beams, samples, tokens_per_round, top_p",
        ),
        (["ranked_search", "samples=0"], r"samples=0 is not a whole number of 1 or more"),
        (["ranked_search:ranker=overlap,n=0"], r"n=0 is not a whole number of 1 or more"),
        (["beam", "num_beams=0"], r"num_beams=0 is not a whole number of 1 or more"),
    ],
)
def test_errors_name_what_is_wrong_and_what_is_right(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_decoder(words)


def test_scoring_has_defaults_of_its_own() -> None:
    """Released scoring code leaves the plausible set out; a value that is given counts in both."""
    assert {name for name in SCORABLE if name != "greedy"} == BUILDERS.keys()
    for name in SCORABLE:
        generating, scoring = parse_decoder([name]).values, parse_decoder([name], scoring=True).values
        assert scoring == {**generating, **DECODERS[name].scoring}
    assert parse_decoder(["dola"]).values["alpha"] == 0.1
    assert parse_decoder(["dola"], scoring=True).values["alpha"] == 0.0
    assert parse_decoder(["dola", "alpha=0.3"], scoring=True).values["alpha"] == 0.3
    with pytest.raises(UsageError, match=r"decoder beam: the probability of a text is undefined .* score texts: greedy, contrast"):
        parse_decoder(["beam"], scoring=True)


@pytest.mark.parametrize("value", ["high", "16", "2+4", "1.5"])
def test_text_stays_text(value: str) -> None:
    assert parse_decoder(["dola", f"layers={value}"]).values["layers"] == value


def test_a_length_penalty_may_be_negative() -> None:
    assert parse_decoder(["beam", "length_penalty=-1"]).values["length_penalty"] == -1.0
