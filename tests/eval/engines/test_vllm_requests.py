"""What requests may ask for, and what is refused before it reaches the engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from counterpoint.decoders import decoders
from counterpoint.eval import EXPERT
from counterpoint.eval.engines.vllm.admission import admit, input_processor
from counterpoint.eval.engines.vllm.decoders import PROMPTED
from counterpoint.eval.engines.vllm.requests import REFUSED, SERVED, read_request
from counterpoint.eval.engines.vllm.settings import Settings
from vllm_stand_in import config

ONE = Settings(amateurs={"small": "/models/small"})
ALL = Settings(amateurs={"small": "/models/small"}, adapters={"liar": "/adapters/liar"}, expert_copy=True)


def test_every_decoder_of_the_table_is_served_or_refused_with_a_reason() -> None:
    table = decoders()
    assert REFUSED.keys() <= table.keys()
    assert SERVED.keys() == table.keys() - REFUSED.keys()
    assert all(row.kind == "processor" and row.distribution for row in SERVED.values())
    assert {name for name, row in SERVED.items() if "prompts" in row.needs} == PROMPTED.keys()


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_run_in_vllm_is_refused_by_name_with_the_way_out(name: str) -> None:
    with pytest.raises(ValueError, match=f"decoder {name} does not run in vLLM: ") as error:
        read_request({"decoder": name}, ALL)
    assert str(error.value).endswith(REFUSED[name])


@pytest.mark.parametrize("name", ["dola", "sled", "layer_fusion", "contrastive_search"])
def test_methods_on_hidden_states_say_so(name: str) -> None:
    with pytest.raises(ValueError, match="no hidden states"):
        read_request({"decoder": name}, ALL)


@pytest.mark.parametrize("name", SERVED)
def test_defaults_are_those_of_the_table(name: str) -> None:
    needs = SERVED[name].needs
    given: dict[str, Any] = {"decoder": name, **({"without_context": "Q"} if "prompts" in needs else {})}
    if "amateur" in needs:
        given["amateur"] = "small"
    request = read_request(given, ALL)
    assert request is not None
    assert request.spec.values == {key: parameter.default for key, parameter in decoders()[name].parameters.items()}
    assert (request.amateur, request.prompted) == ("amateur" in needs, "prompts" in needs)


@pytest.mark.parametrize(
    "name",
    [
        "counterpoint.decoders:TopNSigmaLogitsProcessor",
        "mine.py:Class",
        "/etc/passwd",
        "contrastive_decoding:alpha=0.2",
        "",
        3,
        None,
        ["p_less"],
    ],
)
def test_a_decoder_is_a_name_of_the_table_and_nothing_else(name: object) -> None:
    with pytest.raises(ValueError, match="unknown decoder"):
        read_request({"decoder": name}, ALL)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"decoder": "contrastive_decoding", "amateur": "/models/small"}, "not a name it was started with; this server has small"),
        ({"decoder": "contrastive_decoding", "amateur": "liar"}, "not a name it was started with"),
        ({"decoder": "contrastive_decoding", "amateur_adapter": "small"}, "this server has liar"),
        ({"decoder": "contrastive_decoding", "amateur": "small", "amateur_adapter": "liar"}, "give one of them"),
        ({"decoder": "contrastive_decoding"}, "one of small, liar"),
        ({"decoder": "contrastive_decoding", "amateur": ["small"]}, "not a name"),
        ({"decoder": "contrastive_decoding", "amateur_prompt": "Lie."}, "has no 'amateur_prompt' here"),
        ({"decoder": "contrastive_decoding", "amateur": "small", "alpha": 2}, "alpha=2 is not a number between 0 and 1"),
        ({"decoder": "contrastive_decoding", "amateur": "small", "alpha": "high"}, "alpha=high is not a number"),
        ({"decoder": "contrastive_decoding", "amateur": "small", "alpha": [0.1]}, "is a list"),
        ({"decoder": "contrastive_decoding", "amateur": "small", "alpha": float("nan")}, "alpha=nan"),
        ({"decoder": "contrastive_decoding", "amateur": "small", "alhpa": 0.1}, "did you mean alpha"),
        (
            {"decoder": "contrastive_decoding", "amateur": "small", "amateur_temperature": 1e-9},
            "amateur_temperature=1e-09: give 1e-06",
        ),
        ({"decoder": "contrastive_decoding", "amateur": "small", "amateur_temperature": 0}, "=0 is not a number above 0"),
        ({"decoder": "contrastive_decoding", "amateur": "small", "amateur_temperature": 1e300}, "1e\\+06 is the most"),
        ({"decoder": "contrastive_reasoning", "amateur": "small", "beta": 1e300}, "1e\\+06 is the most"),
        ({"decoder": "contrastive_decoding", "amateur": "small", "without_context": "Q"}, "leave without_context out"),
        ({"decoder": "contrastive_decoding", "amateur": "small", "repetition_penalty": 1.2}, "field of the request itself"),
        ({"decoder": "context_aware"}, "needs without_context"),
        ({"decoder": "context_aware", "without_context": " "}, "needs without_context"),
        ({"decoder": "context_aware", "without_context": []}, "needs without_context"),
        ({"decoder": "context_aware", "without_context": [5, -1]}, "needs without_context"),
        ({"decoder": "context_aware", "without_context": [5, "six"]}, "needs without_context"),
        ({"decoder": "context_aware", "without_context": "Q", "message": "user"}, "has no 'message' here"),
        ({"decoder": "context_aware", "without_context": "Q", "amateur": "small"}, "has no amateur"),
        ({"decoder": "top_n_sigma", "temperature": 0.5}, "field of the request itself"),
        ({"decoder": "top_n_sigma", "top_k": 5}, "field of the request itself"),
        ({"decoder": "frustratingly_simple", "n": 11}, "n=11: 10 is the most here"),
        ({"decoder": "frustratingly_simple", "top_k": 101}, "top_k=101: 100 is the most here"),
        ({"decoder": "frustratingly_simple", "n": 2.5}, "not a whole number"),
        ({"decoder": "nucelus"}, "unknown decoder 'nucelus'"),
        ({"amateur": "small"}, "and no decoder"),
        ({"Decoder": "p_less"}, "and no decoder"),
        ({"without_context": "Q"}, "and no decoder"),
    ],
)
def test_what_is_wrong_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_request(given, ALL)


def test_what_a_server_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="which this server was started without"):
        read_request({"decoder": "contrastive_decoding"}, Settings())
    with pytest.raises(ValueError, match="this server has none"):
        read_request({"decoder": "induce_then_contrast", "amateur_adapter": "liar"}, ONE)
    with pytest.raises(ValueError, match='"expert_copy": true'):
        read_request({"decoder": "context_aware", "without_context": "Q"}, ONE)


def test_the_only_model_need_not_be_named() -> None:
    request = read_request({"decoder": "contrastive_decoding"}, ONE)
    assert request is not None
    assert request.model == "small"


@pytest.mark.parametrize("given", [None, {}, {"kv_transfer_params": {}}, {"of_another_plugin": 1}])
def test_requests_without_a_decoder_are_left_alone(given: dict[str, Any] | None) -> None:
    assert read_request(given, ALL) is None


@pytest.mark.parametrize("norm", [True, 1, 1.0, "true"])
def test_json_has_true_as_a_number(norm: object) -> None:
    request = read_request({"decoder": "p_less", "norm": norm}, Settings())
    assert request is not None
    assert request.spec.values["norm"] is True


@pytest.mark.parametrize(
    ("additional", "message"),
    [
        ({"amateur": {"a": "b"}}, "takes amateurs, adapters, expert_copy"),
        ({"amateurs": ["b"]}, "FOLDER OR REPOSITORY"),
        ({"amateurs": {"a": ""}}, "FOLDER OR REPOSITORY"),
        ({"amateurs": {"a/b": "c"}}, "names are letters"),
        ({"amateurs": {"": "c"}}, "names are letters"),
        ({"amateurs": {"a": "b"}, "adapters": {"a": "c"}}, "different names"),
        ({"expert_copy": 1}, "neither true nor false"),
    ],
)
def test_settings_that_are_wrong_are_refused(additional: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings.of(SimpleNamespace(additional_config={"counterpoint": additional}))


def test_settings_of_others_are_left_alone() -> None:
    assert Settings.of(SimpleNamespace(additional_config={"another": 1})) == Settings()
    assert Settings.of(SimpleNamespace(additional_config=object())) == Settings()


class InputProcessor:
    """Asks for a request's admission as vLLM's class of that name does."""

    def __init__(self, vllm_config: Any, tokenizer: Any) -> None:
        self.vllm_config, self.tokenizer = vllm_config, tokenizer

    def get_tokenizer(self) -> Any:
        return self.tokenizer

    def ask(self, extra_args: dict[str, Any] | None, max_tokens: int | None = 16) -> None:
        admit(SimpleNamespace(extra_args=extra_args, max_tokens=max_tokens))


def test_admission_reads_what_the_server_was_started_with(tokenizer: Any) -> None:
    server = InputProcessor(config(EXPERT, {"counterpoint": {"amateurs": {"small": "x"}, "expert_copy": True}}), tokenizer)
    server.ask(None)
    server.ask({"decoder": "contrastive_decoding", "amateur": "small"})
    server.ask({"decoder": "context_aware", "without_context": "The captain said"})
    server.ask({"decoder": "context_aware", "without_context": [5, 8191]})
    with pytest.raises(ValueError, match="not a name it was started with"):
        server.ask({"decoder": "contrastive_decoding", "amateur": "large"})
    with pytest.raises(ValueError, match="the token 8192; the model knows 8192"):
        server.ask({"decoder": "context_aware", "without_context": [5, 8192]})
    with pytest.raises(ValueError, match="together they may be 128"):
        server.ask({"decoder": "context_aware", "without_context": [5] * 120})
    with pytest.raises(ValueError, match="max_tokens=None"):
        server.ask({"decoder": "context_aware", "without_context": "Q"}, max_tokens=None)


def test_a_vllm_that_asks_otherwise_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"docs/engines\.md"):
        input_processor()
