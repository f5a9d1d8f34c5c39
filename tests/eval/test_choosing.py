"""Decoders by name: their settings, and every way to get them wrong."""

from __future__ import annotations

from typing import Any

import pytest

from counterpoint.decoders import adaptive_contrastive_search, contrastive_search
from counterpoint.decoders.choosing.rows import Parameter
from counterpoint.eval.building import generate_arguments
from counterpoint.eval.choosing import TABLE, describe_decoders, parse_decoder
from counterpoint.eval.embedded import EXPERT
from counterpoint.eval.loading import Loaded, load
from counterpoint.rankers import RankGenRanker, best_of, ranked_search

FIELD_DEFAULTS = {
    "greedy": {"do_sample": False},
    "beam": {"do_sample": False, "num_beams": 4, "length_penalty": 1.0},
    "sample": {"do_sample": True, "temperature": 1.0, "top_k": 0},
    "nucleus": {"do_sample": True, "top_p": 0.95, "top_k": 0, "temperature": 1.0},
    "top_k": {"do_sample": True, "top_k": 50, "temperature": 1.0},
    "typical": {"do_sample": True, "typical_p": 0.95, "top_k": 0, "temperature": 1.0},
    "min_p": {"do_sample": True, "min_p": 0.1, "top_k": 0, "temperature": 1.0},
    "contrastive_search": {"do_sample": False, "penalty_alpha": 0.6, "top_k": 5, "custom_generate": contrastive_search},
    "adaptive_contrastive_search": {
        "do_sample": False,
        "entropy_scale": 1.0,
        "custom_generate": adaptive_contrastive_search,
    },
}


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    """The embedded expert."""
    return load(str(EXPERT), "cpu", "float32", trust_remote_code=False)


def arguments(loaded: Loaded, choice: str, prompt: str = "It was late.\n\nThe whale") -> dict[str, Any]:
    """What ``generate`` gets for a decoder."""
    return generate_arguments(parse_decoder(choice), loaded, [prompt])


@pytest.mark.parametrize("name", FIELD_DEFAULTS)
def test_defaults_are_the_fields(name: str, loaded: Loaded) -> None:
    assert arguments(loaded, name) == FIELD_DEFAULTS[name]


def test_pictures_need_a_model_that_reads_them(loaded: Loaded) -> None:
    with pytest.raises(ValueError, match=r"visual_contrastive.*LlamaForCausalLM reads no images; take an image-text model"):
        arguments(loaded, "visual_contrastive")


OF_TEXT = [name for name, row in TABLE.rows.items() if row.kind == "processor" and "processor" not in row.needs]
"""Logits processors that a model of text alone takes."""


@pytest.mark.parametrize("name", OF_TEXT)
def test_logits_processors_are_greedy_searchs_unless_they_sample(name: str, loaded: Loaded) -> None:
    needed = {"decore": ":heads=0-1+1-0"}
    found = arguments(loaded, name + needed.get(name, ""))
    assert found.pop("do_sample") == TABLE.rows[name].sampling
    assert len(found.pop("logits_processor")) == 1
    assert found.keys() <= {"num_beams", "top_k", "temperature"}


def test_a_ranker_chooses_among_the_proposals(loaded: Loaded) -> None:
    sampling = {"do_sample": True, "top_p": 0.9, "top_k": 0, "temperature": 1.0}
    for name, search, values in (
        ("best_of", best_of, {"candidates": 20}),
        ("ranked_search", ranked_search, {"beams": 2, "candidates": 10, "tokens_per_round": 20, "round_ends": ""}),
    ):
        found = arguments(loaded, name)
        assert isinstance(found.pop("ranker"), RankGenRanker)
        assert found.pop("processing_class") is loaded.tokenizer
        assert found == {**sampling, **values, "custom_generate": search}
    beams = arguments(loaded, "best_of:ranker=overlap,proposals=[beam:num_beams=6]")
    assert (beams["num_beams"], beams["num_return_sequences"], beams["do_sample"]) == (6, 6, False)
    assert arguments(loaded, "best_of:ranker=overlap")["ranker"] is arguments(loaded, "best_of:ranker=overlap")["ranker"]


def test_every_decoder_is_described() -> None:
    lines = describe_decoders().splitlines()[:-1]
    assert [line.split()[0] for line in lines if not line.startswith("    ")] == list(TABLE.rows)
    assert max(map(len, lines)) <= 132
    for row in TABLE.rows.values():
        assert not row.parameters or any(all(f"{key}=" in line for key in row.parameters) for line in lines)


@pytest.mark.parametrize(
    "words", [["nucleus", "top_p=0.9", "top_k=7"], ["nucleus:top_p=.9,top_k=7"], ["nucleus:top_p=9e-1", "top_k=7"]]
)
def test_both_spellings_give_the_same(words: list[str]) -> None:
    choice = parse_decoder(words)
    assert choice.values == {"top_p": 0.9, "top_k": 7, "temperature": 1.0}
    assert str(choice) == "nucleus:top_p=0.9,top_k=7,temperature=1.0"


def test_penalties_are_passed_only_if_given(loaded: Loaded) -> None:
    assert arguments(loaded, "greedy:repetition_penalty=1.2") == {"do_sample": False, "repetition_penalty": 1.2}
    processors = arguments(loaded, "dola:repetition_penalty=1.2,no_repeat_ngram_size=3")["logits_processor"]
    assert [type(each).__name__ for each in processors][1:] == ["RepetitionPenaltyLogitsProcessor", "NoRepeatNGramLogitsProcessor"]


def test_choices_are_nested() -> None:
    text = "ranked_search:ranker=[likelihood:form=pmi,decoder=[dola:layers=low]],candidates=4,proposals=[typical:typical_p=0.9]"
    spec = parse_decoder([text, "repetition_penalty=1.2"])
    assert str(spec) == (
        "ranked_search:ranker=[likelihood:form=pmi,decoder=[dola:layers=low,alpha=0.0]],beams=2,candidates=4,tokens_per_round=20,"
        "proposals=[typical:typical_p=0.9],repetition_penalty=1.2"
    )
    assert parse_decoder(str(spec)) == spec
    ranker = spec.plain()["ranker"]
    assert ranker == "[likelihood:form=pmi,decoder=[dola:layers=low,alpha=0.0]]"  # as texts are scored
    several = parse_decoder("best_of:ranker=[overlap:n=2]+[likelihood:weight=0.5]")
    assert parse_decoder(str(several)) == several
    assert [each.name for each in several.nested()] == ["overlap", "likelihood", "nucleus"]


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
    parsed = Parameter(default).read("key", text)  # type: ignore[arg-type]
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["nuclues"],
            r"unknown decoder 'nuclues' \(did you mean nucleus\?\); known: greedy, .*, layer_fusion, .*own is package.module:Class",
        ),
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
        (["sample", "temperature=-1"], r"temperature=-1 is not a number above 0; the default is temperature=1.0"),
        (["p_less", "temperature=0"], r"temperature=0 is not a number above 0"),
        (["typical", "typical_p=0"], r"typical_p=0 is not a number above 0, up to 1"),
        (["contrastive_decoding", "amateur_temperature=0"], r"amateur_temperature=0 is not a number above 0"),
        (["adaptive_contrastive_search", "entropy_scale=0"], r"entropy_scale=0 is not a number above 0"),
        (["greedy", "repetition_penalty=0"], r"repetition_penalty=0 is not a number above 0"),
        (["best_of", "ranker=smal"], r"unknown ranker 'smal' \(did you mean small\?\); known: small, rankgen, sentence"),
        (["best_of", "ranker=sentence"], r"ranker sentence needs path: sentence:path="),
        (
            ["ranked_search", "form=pmi"],
            r"ranked_search has no 'form'.*; it takes: ranker, beams, candidates, tokens_per_round, round_ends, proposals",
        ),
        (["ranked_search", "candidates=0"], r"candidates=0 is not a whole number of 1 or more"),
        (["ranked_search:ranker=[overlap:n=0]"], r"n=0 is not a whole number of 1 or more"),
        (["beam", "num_beams=0"], r"num_beams=0 is not a whole number of 1 or more"),
        (["contrastive_decoding:alpha=2"], r"alpha=2 is not a number between 0 and 1; the default is alpha=0.1"),
        (["dola:layers=a|b"], r"has \| outside quotes, which is several values, a sweep"),
        (["best_of:ranker=[overlap"], "leaves a bracket open"),
        (
            ["best_of:proposals=greedy"],
            "decoder best_of: greedy proposes only one text, and a ranker chooses among several; take",
        ),
        (["ranked_search:proposals=[beam:num_beams=3]"], "beam proposes only one text"),
    ],
)
def test_errors_name_what_is_wrong_and_what_is_right(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_decoder(words)


def test_scoring_has_defaults_of_its_own() -> None:
    """Released scoring code leaves the plausible set out; a value that is given counts in both."""
    for name in [name for name, row in TABLE.rows.items() if row.distribution]:
        words = [name, "heads=0-1"] if name == "decore" else [name]  # the only one that has no default for all it needs
        generating, scoring = parse_decoder(words).values, parse_decoder(words, scoring=True).values
        own = {key: each.scoring for key, each in TABLE.rows[name].parameters.items() if each.scoring is not None}
        assert scoring == {**generating, **own}
    assert parse_decoder(["dola"]).values["alpha"] == 0.1
    assert parse_decoder(["dola"], scoring=True).values["alpha"] == 0.0
    assert parse_decoder(["dola", "alpha=0.3"], scoring=True).values["alpha"] == 0.3
    with pytest.raises(ValueError, match=r"decoder beam: the probability of a text is undefined .* score texts: greedy, "):
        parse_decoder(["beam"], scoring=True)


@pytest.mark.parametrize("value", ["high", "16", "2+4"])
def test_text_stays_text(value: str) -> None:
    assert parse_decoder(["dola", f"layers={value}"]).values["layers"] == value


def test_a_length_penalty_may_be_negative() -> None:
    assert parse_decoder(["beam", "length_penalty=-1"]).values["length_penalty"] == -1.0
